package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a file, and what to write instead.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1; 0 = the file as a whole
	Column  int    `json:"column"` // from 1
	Message string `json:"message"`
	Source  string `json:"source,omitempty"` // the line as it stands in the file
}

// String gives "file:line:col: message" and, below it, the line with a caret under the place.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	head := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if p.Source == "" {
		return head
	}
	gutter := fmt.Sprintf("%6d | ", p.Line)
	// Tabs are kept so that the caret stands under the right character on every terminal.
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, firstRunes(p.Source, p.Column-1))
	return head + "\n" + gutter + p.Source + "\n" + strings.Repeat(" ", 7) + "| " + pad + "^"
}

func firstRunes(s string, n int) string {
	r := []rune(s)
	return string(r[:min(max(n, 0), len(r))])
}

// Problems is everything that is wrong with a file, in the file's order. It is never empty.
type Problems struct {
	List []Problem
}

// Error lists all problems, one after the other.
func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, q := range p.List {
		lines[i] = q.String()
	}
	return strings.Join(lines, "\n")
}

// sorted puts the problems in the file's order; those of the whole file come first.
func sorted(list []Problem) []Problem {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return list
}

// problemsOf is nil when there is none, so that the result can be returned as an error.
func problemsOf(list []Problem) error {
	if len(list) == 0 {
		return nil
	}
	return &Problems{List: sorted(list)}
}

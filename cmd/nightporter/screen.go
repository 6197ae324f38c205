package main

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// wideFrom is the width from which on the status shows more columns.
const wideFrom = 120

// screen is what is known of where the text goes.
type screen struct {
	terminal bool
	width    int // in columns; 0 = any
	height   int // in lines; 0 = any
}

// screenOf looks at an output. A file or pipe has any width unless $COLUMNS says one.
func screenOf(out io.Writer, getenv func(string) string) screen {
	s := screen{}
	if f, ok := out.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			s = screen{terminal: true, width: int(size.Col), height: int(size.Row)}
		}
	}
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 && !s.terminal {
		s.width = n
	}
	return s
}

func (s screen) wide() bool { return s.width == 0 || s.width >= wideFrom }

// fits cuts a picture to the lines of a screen: one that scrolls could not be painted over, and what is wrong stands at its top.
func (s screen) fits(text string) string {
	lines := strings.SplitAfter(text, "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	}
	if s.height < 3 || len(lines) < s.height {
		return text
	}
	keep := s.height - 2
	return strings.Join(lines[:keep], "") + "... and " + count(len(lines)-keep, "more line") + "\n"
}

// repaint gives a picture the form that takes the place of the one before: from the top left corner, each line cleared to its end, and what
// is below cleared too. Nothing flickers, and the last picture stays when the command ends.
func repaint(text string) string {
	return "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
}

// grid adds rows below a heading, in columns that fit a width: the widest is cut first.
func (p *page) grid(width int, heading []string, rows [][]string) {
	const gap = 2
	widths := make([]int, len(heading))
	all := append([][]string{heading}, rows...)
	for _, row := range all {
		for i := range row {
			if row[i] = plain(row[i]); row[i] == "" {
				row[i] = "-"
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for total := sum(widths) + gap*(len(widths)-1); width > 0 && total > width; total-- {
		widest := 0
		for i := range widths {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= 4 {
			break
		}
		widths[widest]--
	}
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			cell = cut(cell, widths[i])
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+gap))
			}
		}
		p.line("%s", line.String())
	}
}

func sum(list []int) (n int) {
	for _, x := range list {
		n += x
	}
	return n
}

// cut shortens a text to a width and shows that it did.
func cut(s string, width int) string {
	if r := []rune(s); width > 0 && len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}

// wrapped adds a text in lines of at most a width, the first one after a mark and the others below it.
func (p *page) wrapped(width int, mark, text string) {
	room, text := width-len(mark), plain(text)
	if width == 0 || room < 20 {
		p.line("%s%s", mark, text)
		return
	}
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > room {
			p.line("%s%s", mark, line)
			mark, line = strings.Repeat(" ", len(mark)), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	p.line("%s%s", mark, line)
}

//go:build vm

package vm

import (
	"fmt"
	"regexp"
	"strings"
)

// step is one thing that a tutorial has its reader do: a command at a host, with what it shows of the answer; or a deed that no command does.
type step struct {
	line    int    // in the file
	host    string // where; "" = a deed
	command string
	shows   []string // lines of the answer; "..." stands for any number of lines
	deed    []string // words
}

func (s step) String() string {
	if s.host == "" {
		return fmt.Sprintf("line %d: %s", s.line, strings.Join(s.deed, " "))
	}
	return fmt.Sprintf("line %d: %s$ %s", s.line, s.host, s.command)
}

var (
	prompt = regexp.MustCompile(`^([a-z]+)\$ (.+)$`)
	deed   = regexp.MustCompile(`^<!-- walk: (.+) -->$`)
)

// steps reads the commands of a page in their order: those in blocks of the kind "console", behind the name of the host and a $; what follows one
// is its answer. A comment "walk:" is a deed.
func steps(page string) (out []step, err error) {
	inside := ""
	for n, l := range strings.Split(page, "\n") {
		if kind, fence := strings.CutPrefix(l, "```"); fence {
			if inside == "" && kind == "" {
				return nil, fmt.Errorf("line %d: a block that does not say of what kind it is", n+1)
			}
			inside = kind
			continue
		}
		p, d := prompt.FindStringSubmatch(l), deed.FindStringSubmatch(l)
		switch {
		case inside == "console" && p != nil:
			out = append(out, step{line: n + 1, host: p[1], command: p[2]})
		case inside == "console" && len(out) > 0 && out[len(out)-1].host != "":
			out[len(out)-1].shows = append(out[len(out)-1].shows, l)
		case inside == "console":
			return nil, fmt.Errorf("line %d: an answer to nothing", n+1)
		case inside == "" && d != nil:
			out = append(out, step{line: n + 1, deed: strings.Fields(d[1])})
		}
	}
	return out, nil
}

// What differs from one day to the next, and is the same word in what is compared.
var varies = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`), ""},
	{regexp.MustCompile(`\bv?[0-9]+(~g|\.)[0-9a-z.+~-]*[0-9a-z](-dirty)?\b|\b[0-9a-f]{7,}(-dirty)?\b`), "#"}, // versions, fractions, addresses
	{regexp.MustCompile(`(#|[0-9]+)(ns|µs|ms|s|m|h|d)((#|[0-9]+)(ns|µs|ms|s|m|h))*\b`), "#"},
	{regexp.MustCompile(`[0-9]+`), "#"},
	{regexp.MustCompile(`#([-:, ]*#)+`), "#"},
	{regexp.MustCompile(`\s+`), " "},
}

func plainly(line string) string {
	for _, v := range varies {
		line = v.what.ReplaceAllString(line, v.as)
	}
	return strings.TrimSpace(line)
}

// missing compares an answer with what the page shows of it, and says which line of the page has no like.
func missing(shows []string, answer string) string {
	var got []string
	for l := range strings.Lines(answer) {
		if l = plainly(l); l != "" {
			got = append(got, l)
		}
	}
	at, loose := 0, false
	for _, l := range shows {
		want := plainly(l)
		if want == "" {
			continue
		}
		if want == "..." {
			loose = true
			continue
		}
		for loose && at < len(got) && got[at] != want {
			at++
		}
		if at == len(got) || got[at] != want {
			return l
		}
		at, loose = at+1, false
	}
	if len(shows) > 0 && at < len(got) && !loose {
		return "the end, where the answer has: " + got[at]
	}
	return ""
}

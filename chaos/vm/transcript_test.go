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
	{regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?(ns|µs|ms|s|m|h|d)([0-9]+(\.[0-9]+)?(ns|µs|ms|s|m|h))*\b`), "#"}, // durations
	{regexp.MustCompile(`\b(v?[0-9]+(~g|\.)[0-9a-z.+~-]*[0-9a-z]|[0-9a-f]{7,})\b(-dirty)?`), "#"},            // versions, fractions, addresses
	{regexp.MustCompile(`[0-9]+`), "#"},
	{regexp.MustCompile(`#([-:, ]*#)+`), "#"},
	{regexp.MustCompile(`\bleader (pi|desk|nas)\b`), "leader HOST"}, // who leads, and so decides, and who of two fronts stands in
	{regexp.MustCompile(`\bleader +now\b`), "voter now"},
	{regexp.MustCompile(`\b(pi|desk) +(holds|claims)\b`), "HOST holds"},
	{regexp.MustCompile(`\bnas -> (pi|desk)\b`), "nas -> HOST"},
	{regexp.MustCompile(`\b(pi|desk) -> nas\b`), "HOST -> nas"},
	{regexp.MustCompile(`\bgranted\b`), "held"}, // a voter's word, where the holder took longer than half a second
	{regexp.MustCompile(`\s+`), " "},
}

func plainly(text string) string {
	for _, v := range varies {
		text = v.what.ReplaceAllString(text, v.as)
	}
	return strings.TrimSpace(text)
}

// cut stands for whatever is left out, in lines of their own or within one.
var cut = regexp.MustCompile(`\s\.\.\.\s`)

// missing compares an answer with what the page shows of it, and says what of the page has no like. Lines may break elsewhere.
func missing(shows []string, answer string) string {
	got, loose := plainly(answer), false
	for n, piece := range cut.Split(" "+strings.Join(shows, "\n")+" ", -1) {
		loose = n > 0
		want := plainly(piece)
		if want == "" {
			continue
		}
		at := strings.Index(got, want)
		if at < 0 || at > 0 && !loose {
			return strings.TrimSpace(piece)
		}
		got, loose = got[at+len(want):], false
	}
	if got = strings.TrimSpace(got); len(shows) > 0 && got != "" && !loose {
		return "the end, where the answer has: " + got
	}
	return ""
}

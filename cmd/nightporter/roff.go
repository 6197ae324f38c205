package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// manWidth is how wide a line may be that a manual page shows as it is: a terminal of 80 columns, less the indentation.
const manWidth = 72

// roff is a manual page that is being put together, in the macros of man(7).
type roff struct{ strings.Builder }

// escaped protects what groff would read as something else: backslashes, hyphens that are to be copied, and a dot or quote that begins a
// line.
func escaped(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// title opens the page. Its date is that of the source, so that equal sources give equal pages.
func (r *roff) title(name, section, version string) {
	date := ""
	if at, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(at, 0).UTC().Format(time.DateOnly)
	}
	fmt.Fprintf(r, ".\\\" Made by `nightporter man`: do not edit.\n.TH \"%s\" \"%s\" \"%s\" \"%s\" \"%s\"\n.nh\n.ad l\n", escaped(name), section, date, "nightporter "+version, "nightporter")
}

func (r *roff) section(name string) { fmt.Fprintf(r, ".SH %s\n", name) }

func (r *roff) bold(s string) { fmt.Fprintf(r, ".B %s\n", escaped(s)) }

// text writes paragraphs; lines that are indented are shown as they are.
func (r *roff) text(s string) {
	for i, part := range strings.Split(strings.TrimSpace(s), "\n\n") {
		if strings.HasPrefix(part, "  ") {
			r.verbatim(part)
			continue
		}
		if i > 0 {
			r.WriteString(".PP\n")
		}
		for line := range strings.Lines(part) {
			r.WriteString(escaped(strings.TrimSpace(line)) + "\n")
		}
	}
}

// item is a term and what it means.
func (r *roff) item(term, meaning string) {
	fmt.Fprintf(r, ".TP\n.B %s\n", escaped(term))
	r.text(meaning)
}

// verbatim shows lines as they are.
func (r *roff) verbatim(s string) {
	page := strings.TrimSuffix(r.String(), "\n")
	if last := page[strings.LastIndex(page, "\n")+1:]; !strings.HasPrefix(last, ".SH ") { // which begins a paragraph itself
		r.WriteString(".PP\n")
	}
	r.WriteString(".nf\n")
	for line := range strings.Lines(s) {
		r.WriteString(escaped(strings.TrimRight(line, "\n")) + "\n")
	}
	r.WriteString(".fi\n")
}

func (r *roff) flags(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		term := "--" + f.Name
		if f.Shorthand != "" {
			term = "-" + f.Shorthand + ", " + term
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			term += " " + kind
		}
		if usage != "" && !strings.HasSuffix(usage, ".") {
			usage += "."
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && !strings.HasPrefix(f.DefValue, os.TempDir()) && !strings.Contains(usage, "default") {
			usage += " Default: " + f.DefValue + "."
		}
		r.item(term, strings.ToUpper(usage[:min(1, len(usage))])+usage[min(1, len(usage)):])
	})
}

// narrow breaks the comments of a YAML file so that no line is wider than width, as far as words allow. What stands behind a value and would
// be too wide goes below it; a comment that went on in the next line goes on in the same paragraph.
func narrow(text string, width int) string {
	var out strings.Builder
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		value, comment := splitComment(lines[i])
		if comment == "" || value != "" && len(lines[i]) <= width && !goesOn(lines, i+1) {
			out.WriteString(lines[i] + "\n")
			continue
		}
		indent := len(value) - len(strings.TrimLeft(value, " "))
		if value = strings.TrimRight(value, " "); value != "" {
			out.WriteString(value + "\n")
			indent += 2
		}
		for i+1 < len(lines) {
			above, more := splitComment(lines[i+1])
			if more == "" || value != "" && !goesOn(lines, i+1) || value == "" && strings.TrimSpace(above) != "" {
				break
			}
			i, comment = i+1, comment+" "+more
		}
		wrap(&out, strings.Repeat(" ", indent)+"# ", comment, width)
	}
	return out.String()
}

// goesOn says whether a line is only the rest of the comment behind a value above it: it begins far to the right.
func goesOn(lines []string, i int) bool {
	if i >= len(lines) {
		return false
	}
	bare := strings.TrimLeft(lines[i], "# ")
	return strings.Contains(lines[i], "#") && len(lines[i])-len(bare) >= 24
}

// splitComment divides a line into what is before the comment and the comment's words. A key that is commented out is a value here.
func splitComment(line string) (value, comment string) {
	start := 0
	if bare := strings.TrimLeft(line, " "); strings.HasPrefix(bare, "# ") {
		start = len(line) - len(bare) + 2
		if rest := line[start:]; !isKey(rest) || len(line) > manWidth && !strings.ContainsAny(rest, "#{[") {
			return line[:start-2], strings.TrimLeft(rest, "# ")
		}
	}
	at := strings.Index(line[start:], "# ")
	if at < 0 {
		return line, ""
	}
	return line[:start+at], line[start+at+2:]
}

// isKey says whether text is a key of YAML with its value, or an element of a list with one.
func isKey(text string) bool {
	text = strings.TrimPrefix(strings.TrimLeft(text, " "), "- ")
	key, rest, found := strings.Cut(strings.TrimPrefix(text, "{"), ":")
	return found && key != "" && (rest == "" || rest[0] == ' ') && !strings.ContainsAny(key, " `,;()")
}

func wrap(out *strings.Builder, prefix, words string, width int) {
	line := ""
	for w := range strings.FieldsSeq(words) {
		if line != "" && len(prefix)+len(line)+1+len(w) > width {
			out.WriteString(prefix + line + "\n")
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	out.WriteString(prefix + line + "\n")
}

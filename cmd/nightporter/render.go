package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// show prints one value: as JSON with -o json, else as the text that draw makes of it.
func (sh *shell) show(v any, draw func(*page)) error {
	if sh.output == "json" {
		out := json.NewEncoder(sh.out)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		if err := out.Encode(v); err != nil {
			return fmt.Errorf("print the answer: %w", err)
		}
		return nil
	}
	var p page
	draw(&p)
	if _, err := sh.out.Write(p.buf.Bytes()); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	return nil
}

// page is text that is being put together.
type page struct{ buf bytes.Buffer }

// line adds a line.
func (p *page) line(format string, args ...any) {
	p.buf.WriteString(plain(fmt.Sprintf(format, args...)) + "\n")
}

// lines adds a text that may have several.
func (p *page) lines(text string) { p.buf.WriteString(plainLines(text) + "\n") }

// table adds rows below a heading, in columns. An empty cell stands as "-".
func (p *page) table(heading []string, rows [][]string) {
	w := tabwriter.NewWriter(&p.buf, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{heading}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			if cells[i] = plain(c); c == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	w.Flush() // writes to a buffer: cannot fail
}

// count gives "1 problem", "2 problems".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// moment prints a point in time in UTC, to the millisecond: the time-lines of two hosts are to be laid side by side.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}

// list joins things that print themselves.
func list[T fmt.Stringer](things []T) string {
	out := make([]string, len(things))
	for i, x := range things {
		out[i] = x.String()
	}
	return strings.Join(out, ",")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

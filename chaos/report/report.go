// Package report draws a run as one HTML page that needs nothing else: the verdicts, the time-line with who held when, the
// faults, what clients got, and how long they waited.
package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
)

//go:embed page.html
var page string

// view is what the page shows.
type view struct {
	H        *history.History
	OK       bool
	Verdicts []check.Verdict
	Length   time.Duration
	Lanes    []lane
	Width    int
	Height   int
	Ticks    []tick
	Waits    []row
	Phases   []row
	Silences []check.Silence
	Faults   []history.Fault
	Commands []history.Command
}

// Write draws the page.
func Write(w io.Writer, h *history.History, verdicts []check.Verdict) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"since": func(at time.Time) string { return since(h, at) },
		"ms":    func(d time.Duration) string { return d.Round(time.Millisecond).String() },
		"add":   func(a, b int) int { return a + b },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("reading the report's page: %w", err)
	}
	v := view{H: h, OK: check.OK(verdicts), Verdicts: verdicts, Length: h.Ended.Sub(h.Began), Faults: h.Faults, Commands: h.Commands}
	draw(&v)
	v.Waits, v.Phases = waits(h), phases(h)
	v.Silences = longest(check.Silences(h, h.Setup.Failover), 30)
	if err := t.Execute(w, v); err != nil {
		return fmt.Errorf("drawing the report: %w", err)
	}
	return nil
}

func since(h *history.History, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%.3f s", at.Sub(h.Began).Seconds())
}

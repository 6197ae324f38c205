// Package report draws a run as one HTML page that needs nothing else: the verdicts, the time-line with who held when, the
// faults, what clients got, and how long they waited.
package report

import (
	_ "embed"
	"fmt"
	"io"
	"time"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
	"nightporter/internal/markup"
)

//go:embed page.html
var page string

// Write draws the page.
func Write(w io.Writer, h *history.History, verdicts []check.Verdict) error {
	ok := markup.Text(`<span class="failed">not every promise was kept</span>`)
	if check.OK(verdicts) {
		ok = `<span class="passed">every promise was kept</span>`
	}
	_, err := io.WriteString(w, markup.Page(page, map[string]markup.Text{
		"seed": markup.Fill("%v", h.Seed), "ok": ok, "summary": summary(h), "verdicts": markup.Each(verdicts, verdict), "line": draw(h).markup(),
		"waits": markup.Each(waits(h), row.markup), "phases": markup.Each(phases(h), row.markup),
		"silences": markup.Each(longest(check.Silences(h, h.Setup.Failover), 30), func(s check.Silence) markup.Text { return silence(h, s) }),
		"faults":   markup.Each(h.Faults, func(f history.Fault) markup.Text { return fault(h, f) }),
		"commands": markup.Each(h.Commands, func(c history.Command) markup.Text { return command(h, c) }),
	}))
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func summary(h *history.History) markup.Text {
	text := markup.Fill(`<p>Version %v, %v hosts, %v services, failover up to %v, %v faults, %v commands,
%v requests of clients, %v in all. It began at %v; times below count from there.
`, h.Version, len(h.Setup.Hosts), len(h.Setup.Services), h.Setup.Failover, len(h.Faults), len(h.Commands),
		len(h.Requests), ms(h.Ended.Sub(h.Began)), h.Began.Format("2006-01-02 15:04:05 MST"))
	if !h.Calm.IsZero() {
		text += markup.Fill("Everything was healed at %v.", since(h, h.Calm))
	}
	return text + "</p>"
}

func verdict(v check.Verdict) markup.Text {
	text := markup.Fill("<tr><td>%v<td>%v<td>%v", v.Check, v.Keeps, v.Promise)
	for _, c := range v.Seen {
		text += markup.Fill("<br>%v", c)
	}
	for _, f := range v.Findings {
		text += markup.Fill(`<br><span class="failed">%v</span>`, f)
	}
	if v.More > 0 {
		text += markup.Fill("<br>and %v more", v.More)
	}
	return text + markup.Fill("<td class=\"n\">%v<td class=\"%v\">%v\n", v.Judged, v.Word(), v.Word())
}

func silence(h *history.History, s check.Silence) markup.Text {
	causes := markup.Each(s.Causes, func(c string) markup.Text { return markup.Fill("%v; ", c) })
	return markup.Fill("<tr><td>%v<td>%v<td class=\"n\">%v<td class=\"n\">%v<td>%v\n", s.Service, s.Client, since(h, s.From), ms(s.Length), causes)
}

func fault(h *history.History, f history.Fault) markup.Text {
	return markup.Fill("<tr><td class=\"n\">%v<td class=\"n\">%v<td>%v<td>%v<td>%v\n", since(h, f.From), since(h, f.To), f.Kind, f.Host, f.Detail)
}

func command(h *history.History, c history.Command) markup.Text {
	outcome := "nobody knows: " + c.Err
	switch {
	case c.Done:
		outcome = "done " + c.Result
	case c.Refused:
		outcome = "refused: " + c.Err
	}
	return markup.Fill("<tr><td class=\"n\">%v<td>%v<td>%v %v %v<td>%v\n", since(h, c.Began), c.Host, c.Verb, c.Service, c.Arg, outcome)
}

func ms(d time.Duration) string { return d.Round(time.Millisecond).String() }

func since(h *history.History, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%.3f s", at.Sub(h.Began).Seconds())
}

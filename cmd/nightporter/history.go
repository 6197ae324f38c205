package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func historyVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "history SERVICE",
		Short: "Tell who held a service, why it moved, and who woke its hosts",
		Long: `Tell the changes of a service's owner and the wakes that it caused, oldest first. EPOCH is the number
of the ownership: it rises with every change and never repeats. A wake that was measured tells when it came
to each of its phases, from the demand on: the first packet left (called), the host said that it is awake
(back), the log says so (awake), the service's checks pass (ready), the service is open (served).`,
		Example: `  nightporter history web`,
		Args:    takes(1, 1, "name one SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				h, err := c.History(ctx, args[0])
				if err != nil {
					return err
				}
				return sh.show(h, func(p *page) { drawHistory(p, h) })
			})
		},
	}
}

// drawHistory lays changes and wakes into one time-line.
func drawHistory(p *page, h api.History) {
	type event struct {
		at  time.Time
		row []string
	}
	var events []event
	for _, c := range h.Changes {
		events = append(events, event{c.At, []string{moment(c.At), number(c.Epoch), arrow(c.From, c.To), c.Reason, c.By, c.Detail}})
	}
	for _, w := range h.Wakes {
		cause := w.Cause
		if w.Client != "" {
			cause += ": " + w.Client + " wants " + w.Port
		}
		what := "wakes " + w.Node
		if w.Cause == unasked {
			what = w.Node + " wakes"
		}
		events = append(events, event{w.Started, []string{moment(w.Started), "", what, cause, w.By, ended(w)}})
	}
	if len(events) == 0 {
		p.line("nothing has happened to %s yet", h.Service)
		return
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	rows := make([][]string, len(events))
	for i, e := range events {
		rows[i] = e.row
	}
	p.table([]string{"TIME (UTC)", "EPOCH", "WHAT", "WHY", "BY", "DETAIL"}, rows)
}

// unasked is the cause of a wake that nobody asked for.
const unasked = "woke-unasked"

func arrow(from, to string) string {
	return cmp.Or(from, "nobody") + " -> " + cmp.Or(to, "nobody")
}

func ended(w api.WakeRecord) string {
	if w.Ended.IsZero() {
		return "under way"
	}
	words := w.Result + " after " + w.Ended.Sub(w.Started).Round(time.Millisecond).String()
	var parts []string
	for _, t := range w.Phases {
		parts = append(parts, t.Phase+" "+short(t.After))
	}
	if len(parts) > 0 {
		words += " (" + strings.Join(parts, ", ") + ")"
	}
	if w.Note != "" {
		words += ": " + w.Note
	}
	return words
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func historyVerb(sh *shell) *cobra.Command {
	var since string
	var last int
	cmd := &cobra.Command{
		Use:   "history [SERVICE|NODE]",
		Short: "Tell who held a service, why it moved, and who woke its hosts",
		Long: `Tell the changes of owner, the wakes, and what else happened (power, members, voters, definitions, settings) to a SERVICE, to a
NODE, or to all, oldest first, in the order of the log: the times are those of the clocks of the hosts that decided, so they may
go back. EPOCH is the number of the ownership: it rises with every change and never repeats.
A wake that was measured tells when it came to each of its phases, from the demand on: the first packet left
(called), the host said that it is awake (back), the log says so (awake), the service's checks pass (ready), the
service is open (served).

The last 200 changes of each service and the last 500 wakes are remembered, and of the rest the last two thousand events;
"nightporter events" tells these as they happen. Where a service and a host have the same name, write service/NAME
or node/NAME.`,
		Example: `  nightporter history web
  nightporter history delta --since 7d
  nightporter history -n 20`,
		Args: takes(0, 1, "name one SERVICE or NODE at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := sinceOf(since)
			if err != nil {
				return usageError{err}
			}
			if last < 0 {
				return usageError{fmt.Errorf("--last is %d; write a whole number from 0 (all) on", last)}
			}
			q := api.HistoryQuery{Since: api.Duration(d)}
			if len(args) > 0 {
				q.Name = args[0]
			}
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				h, err := c.HistoryOf(ctx, q)
				if err != nil {
					return err
				}
				h = newest(h, last)
				return sh.show(h, func(p *page) { drawHistory(p, h, q.Name) })
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "how far back, like 24h or 7d; all that is remembered without it")
	cmd.Flags().IntVarP(&last, "last", "n", 0, "tell so many of the newest; 0 = all")
	return cmd
}

// deed is one line of a history: one of the three is there.
type deed struct {
	change *api.Change
	wake   *api.WakeRecord
	event  *api.Event
}

// at gives the place in the log and the time, by the clock of the host that proposed it.
func (d deed) at() (index uint64, at time.Time) {
	switch {
	case d.change != nil:
		return d.change.Index, d.change.At
	case d.event != nil:
		return d.event.Index, d.event.At
	}
	return 0, d.wake.Started
}

// timeline lays all into one line. The order is that of the log, since clocks of hosts differ; of a wake only the times are remembered, so it
// stands before the first that is later by its clock.
func timeline(h api.History) []deed {
	var logged, all []deed
	for i := range h.Changes {
		logged = append(logged, deed{change: &h.Changes[i]})
	}
	for i := range h.Events {
		logged = append(logged, deed{event: &h.Events[i]})
	}
	slices.SortStableFunc(logged, func(a, b deed) int {
		i, _ := a.at()
		j, _ := b.at()
		return cmp.Compare(i, j)
	})
	wakes := h.Wakes
	for _, d := range logged {
		for _, at := d.at(); len(wakes) > 0 && wakes[0].Started.Before(at); wakes = wakes[1:] {
			all = append(all, deed{wake: &wakes[0]})
		}
		all = append(all, d)
	}
	for i := range wakes {
		all = append(all, deed{wake: &wakes[i]})
	}
	return all
}

// newest leaves the last n of all that a history tells; 0 = all.
func newest(h api.History, n int) api.History {
	all := timeline(h)
	if n == 0 || len(all) <= n {
		return h
	}
	h.Changes, h.Wakes, h.Events = []api.Change{}, []api.WakeRecord{}, []api.Event{}
	for _, d := range all[len(all)-n:] {
		switch {
		case d.change != nil:
			h.Changes = append(h.Changes, *d.change)
		case d.event != nil:
			h.Events = append(h.Events, *d.event)
		default:
			h.Wakes = append(h.Wakes, *d.wake)
		}
	}
	return h
}

// drawHistory lays all into one time-line.
func drawHistory(p *page, h api.History, name string) {
	var rows [][]string
	for _, d := range timeline(h) {
		switch {
		case d.change != nil:
			c := *d.change
			what := arrow(c.From, c.To)
			if h.Service == "" {
				what = c.Service + ": " + what
			}
			rows = append(rows, []string{moment(c.At), number(c.Epoch), what, c.Reason, c.By, c.Detail})
		case d.event != nil:
			e := *d.event
			rows = append(rows, []string{moment(e.At), "", happened(e), e.Reason, e.By, e.Detail})
		default:
			rows = append(rows, wakeRow(*d.wake))
		}
	}
	if len(rows) == 0 {
		p.line("nothing has happened to %s yet", cmp.Or(name, "this cluster"))
		return
	}
	p.table([]string{"TIME (UTC)", "EPOCH", "WHAT", "WHY", "BY", "DETAIL"}, rows)
}

func wakeRow(w api.WakeRecord) []string {
	cause := w.Cause
	if w.Client != "" {
		cause += ": " + w.Client + " wants " + w.Port
	}
	what := "wakes " + w.Node
	if slices.Contains(byItself, w.Cause) {
		what = w.Node + " wakes"
	}
	return []string{moment(w.Started), "", what, cause, w.By, ended(w)}
}

// happened is an event in a few words; reason and detail stand beside them.
func happened(e api.Event) string {
	switch e.Kind {
	case "power":
		return e.Node + " " + e.From + " -> " + e.To
	case "voters":
		if e.From == "" { // the first change that this story has: who voted before is not in it
			return "voters " + e.To
		}
		return "voters " + arrow(e.From, e.To)
	case "member":
		if e.What == "corrected" { // from and to are reasons, and why has the new one
			return e.Node + " awake for another reason"
		}
	case "fitness":
		return strings.TrimSpace(e.Node + " fitness " + e.What)
	case "setting":
		return e.What + " " + e.From + " -> " + e.To
	case "service":
		return "service " + e.Service + " " + e.What
	}
	return strings.TrimSpace(cmp.Or(e.Node, e.Kind) + " " + strings.TrimSpace(e.What+" "+e.To))
}

// byItself are the causes of wakes for which nobody called.
var byItself = []string{"woke-unasked", "woke-alarm", "woke-on-time"}

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

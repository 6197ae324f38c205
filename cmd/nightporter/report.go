package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func reportVerb(sh *shell) *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Sum up the hours asleep, the wakes by cause, and the energy saved",
		Long: `Sum up for each host how long it was asleep and awake, how often it was woken, by what and for what, and the
energy that was saved: hours asleep times what it draws less then (watts, in the configuration of the host
that is asked; without them no energy is told).

The hours come from the log and are differences of the hosts' own clocks: one that was set meanwhile shows.
With --since whole days of UTC are summed up, from the day on in which that time lies; single days are
remembered for 100 days, the sum of all for ever.`,
		Example: `  nightporter report --since 7d
  nightporter report -o json | jq '[.nodes[].saved_watt_hours] | add / 1000'`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := sinceOf(since)
			if err != nil {
				return usageError{err}
			}
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				r, err := c.Report(ctx, api.ReportQuery{Since: api.Duration(d)})
				if err != nil {
					return err
				}
				return sh.show(r, func(p *page) { drawReport(p, r) })
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "how far back, like 7d or 36h; all that is remembered without it")
	return cmd
}

// sinceOf reads a time as people write it, in days too.
func sinceOf(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	var d time.Duration
	var err error
	if days, is := strings.CutSuffix(s, "d"); is {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	} else {
		d, err = time.ParseDuration(s)
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("--since is %q; write a time above zero, like 7d or 36h", s)
	}
	return d, nil
}

func drawReport(p *page, r api.Report) {
	from := "all that is remembered"
	if !r.From.IsZero() {
		from = "from " + r.From.UTC().Format(time.DateOnly) + " on"
	}
	p.line("%s, until %s UTC; by the hosts' own clocks", from, moment(r.Until))
	p.line("")
	var rows [][]string
	saved, told := 0.0, false
	for _, n := range r.Nodes {
		energy := ""
		if n.Configured {
			energy = fmt.Sprintf("%.2f kWh", n.SavedWh/1000)
			saved, told = saved+n.SavedWh, true
		}
		rows = append(rows, []string{n.Node, n.Policy, moment(n.Since), hours(n.Awake), hours(n.Asleep), hours(n.Off), energy})
	}
	p.table([]string{"NODE", "POLICY", "SINCE (UTC)", "AWAKE", "ASLEEP", "OFF", "SAVED"}, rows)
	if told {
		p.line("saved in all: %.2f kWh", saved/1000)
	}
	rows = nil
	for _, n := range r.Nodes {
		for _, w := range n.Wakes {
			rows = append(rows, []string{n.Node, w.Cause, w.Service, cmp.Or(w.Verdict, "not judged"), number(w.Count)})
		}
	}
	if len(rows) > 0 {
		p.line("")
		p.table([]string{"WAKES OF", "CAUSE", "SERVICE", "VERDICT", "COUNT"}, rows)
	}
	for _, n := range r.Notes {
		p.line("note: %s", n)
	}
}

// hours prints a time as people count hours.
func hours(d api.Duration) string {
	if d == 0 {
		return ""
	}
	if time.Duration(d) < time.Hour {
		return short(d)
	}
	return fmt.Sprintf("%.1f h", time.Duration(d).Hours())
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func whyVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "why NODE",
		Short: "Tell why a host is awake, or asleep",
		Long: `Tell why a host is awake, and when it goes to sleep by itself; of one that sleeps, since when and why.
Any host can be asked about any other. A reason of the kind "use" says that somebody needs the host: it goes
to sleep when the last of these has been over for the time that its configuration gives (idle). One of the
kind "hold" keeps it awake for as long as it is there. What counts is said by stay_awake in the configuration.`,
		Example: `  nightporter why delta
  nightporter why delta -o json | jq -r '.reasons[] | .name + ": " + .sentence'`,
		Args: takes(1, 1, "name one NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				w, err := c.Why(ctx, args[0])
				if err != nil {
					return err
				}
				return sh.show(w, func(p *page) { drawWhy(p, w) })
			})
		},
	}
}

func drawWhy(p *page, w api.Why) {
	if w.Summary != "" {
		p.line("%s", w.Summary)
		p.line("")
	}
	if len(w.Reasons) > 0 {
		var rows [][]string
		for _, r := range w.Reasons {
			rows = append(rows, []string{r.Name, r.Kind, moment(r.Since), r.Sentence})
		}
		p.table([]string{"REASON", "KIND", "SINCE (UTC)", "WHAT IS SO"}, rows)
		p.line("")
	}
	p.line("%s since %s UTC: %s", w.Power, moment(w.Since), w.Cause)
	if w.LastUse.Name != "" {
		p.line("last use that has ended, at %s UTC: %s (%s)", moment(w.LastUse.Until), w.LastUse.Sentence, w.LastUse.Name)
	}
	if !w.SleepsAt.IsZero() {
		p.line("it sleeps at %s UTC if nobody comes", moment(w.SleepsAt))
	}
	if !w.WakesAt.IsZero() {
		p.line("it is to be awake at %s UTC (wake_at; if it sleeps then, its own clock wakes it)", moment(w.WakesAt))
	}
	for _, n := range w.Notes {
		p.line("note: %s", n)
	}
}

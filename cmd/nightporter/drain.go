package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func drainVerb(sh *shell) *cobra.Command {
	var q api.DrainQuery
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Take a host out of service for maintenance",
		Long: `Take a host out of service: it gets no service, hands over what it holds, and is neither put to sleep by
itself nor woken for clients, until "nightporter undrain". That is in the log, so it outlives reboots of the
host and of the whole cluster. The host goes on to vote. It is refused where nobody else could hold a service
that the host holds; with --force nobody holds that service from then on. With --wait the answer comes
when everything is handed over and open at its new holders, and of two hosts the vote as well.`,
		Example: `  nightporter drain --wait --reason "new disk" charlie
  nightporter undrain charlie`,
		Args: takes(1, 1, "name one NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Node = args[0]
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				r, err := c.Drain(ctx, q)
				if err != nil {
					return err
				}
				return sh.show(r, func(p *page) { drawDrained(p, r) })
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&q.Text, "reason", "", "why, for whoever reads the status")
	flags.BoolVar(&q.Wait, "wait", false, "until everything is handed over, of two hosts also the vote")
	flags.BoolVar(&q.Force, "force", false, "also where nobody else could hold a service; nobody holds it then")
	return cmd
}

func drawDrained(p *page, r api.Drained) {
	for _, m := range r.Moved {
		drawMoved(p, m)
	}
	for _, s := range r.Nobody {
		p.line("%s: nobody holds it", s)
	}
	if len(r.Pending) > 0 {
		p.line("still to be handed over: %s", strings.Join(r.Pending, ", "))
	}
	p.line("%s is in maintenance", r.Node)
	for _, n := range r.Notes {
		p.line("note: %s", n)
	}
}

func undrainVerb(sh *shell) *cobra.Command {
	return simple(sh, &cobra.Command{
		Use:     "undrain NODE",
		Short:   "End a host's maintenance",
		Long:    `End the maintenance that "nightporter drain" began: the host may hold services again, and gets those back whose target it is and that a front holds. What another target serves stays there ("nightporter move").`,
		Example: `  nightporter undrain charlie`,
		Args:    takes(1, 1, "name one NODE"),
	}, func(ctx context.Context, c *api.Client, args []string) (string, error) {
		return args[0] + " is in service again", c.Undrain(ctx, args[0])
	})
}

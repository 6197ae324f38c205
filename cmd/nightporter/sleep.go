package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func sleepVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "sleep NODE",
		Short: "Hand over what a host holds and suspend it",
		Long: `Hand over what a host holds, commit that it sleeps, and run its suspend command. It is refused when the
awake voters would no longer be a majority, or when nobody awake could stand in for a service.`,
		Example: `  nightporter sleep delta`,
		Args:    takes(1, 1, "name one NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				r, err := c.Sleep(ctx, args[0])
				if err != nil {
					return err
				}
				return sh.show(r, func(p *page) { drawPower(p, r) })
			})
		},
	}
}

func drawPower(p *page, r api.PowerChange) {
	for _, m := range r.Moved {
		drawMoved(p, m)
	}
	for _, mac := range r.Called {
		p.line("magic packet to %s", mac)
	}
	p.line("%s is %s", r.Node, r.Power)
}

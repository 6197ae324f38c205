package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func sleepVerb(sh *shell) *cobra.Command {
	var anyway bool
	cmd := &cobra.Command{
		Use:   "sleep NODE",
		Short: "Hand over what a host holds and suspend it",
		Long: `Hand over what a host holds, commit that it sleeps, and run its suspend command. It is refused when the
awake voters would no longer be a majority, or when nobody awake could stand in for a service; and when the host
has not shown that it can be woken ("nightporter canary"), or could not be woken from its last sleep, or its
network card is not armed. --anyway goes over the last three: be ready to press the host's power button.`,
		Example: `  nightporter sleep delta
  nightporter sleep --anyway delta`,
		Args: takes(1, 1, "name one NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				ask := c.Sleep
				if anyway {
					ask = c.SleepAnyway
				}
				r, err := ask(ctx, args[0])
				if err != nil {
					return err
				}
				return sh.show(r, func(p *page) { drawPower(p, r) })
			})
		},
	}
	cmd.Flags().BoolVar(&anyway, "anyway", false, "also a host of which nobody knows whether it can be woken, or that cannot be")
	return cmd
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

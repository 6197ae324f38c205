package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func wakeVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "wake NODE",
		Short: "Wake a sleeping host",
		Long: `Send magic packets to a sleeping host until it is back or wake_timeout is over. It returns as soon as the
first ones are out; "status" and "history" tell how it went. It works without a leader too.`,
		Example: `  nightporter wake delta`,
		Args:    takes(1, 1, "name one NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				r, err := c.Wake(ctx, args[0])
				if err != nil {
					return err
				}
				return sh.show(r, func(p *page) { drawPower(p, r) })
			})
		},
	}
}

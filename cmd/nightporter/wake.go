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
		Long: `Send magic packets to a sleeping host until it is back, and wait for that. It works without a leader too.
The calls go on until wake_timeout is over, also when this command's own --timeout ends it before;
"status" and "history" tell how it went.`,
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

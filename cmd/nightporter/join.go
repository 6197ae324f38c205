package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"nightporter/api"
	"nightporter/config"
)

func joinVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "join ADDRESS...",
		Short: "Join this host to a running cluster",
		Long: `Join this host to the cluster of which one or more hosts are at the given addresses (host or host:port).
Both sides need the same cluster name and secret. The addresses are remembered; once is enough.`,
		Example: `  nightporter join 192.0.2.11 192.0.2.12`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the ADDRESS of one or more hosts of the cluster")
			}
			for _, a := range args {
				if err := config.CheckEndpoint(a); err != nil {
					return err
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				j, err := c.Join(ctx, args)
				if err != nil {
					return err
				}
				return sh.show(j, func(p *page) {
					p.line("reached %d of %d", j.Reached, len(args))
				})
			})
		},
	}
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func leaveVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "leave",
		Short: "Take this host out of the cluster for good",
		Long: `Take this host out of the cluster: it hands over what it holds, gives back its vote and is forgotten by
the others. It is refused when the awake voters would no longer be a majority. A host that only stops
for a while needs no leave: stop the daemon, or let it sleep. The agent ends; started again, it joins anew.`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				if err := c.Leave(ctx); err != nil {
					return err
				}
				const left = "this host has left the cluster"
				return sh.show(done{left}, func(p *page) {
					p.line("%s, and its agent has ended", left)
					p.line("so that it does not join again at the next boot: systemctl disable nightporter,")
					p.line("and take it out of nodes in the configuration of the others")
				})
			})
		},
	}
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func leaveVerb(sh *shell) *cobra.Command {
	return simple(sh, &cobra.Command{
		Use:   "leave",
		Short: "Take this host out of the cluster for good",
		Long: `Take this host out of the cluster: it hands over what it holds, gives back its vote and is forgotten by
the others. It is refused when the awake voters would no longer be a majority. A host that only stops
for a while needs no leave: stop the daemon, or let it sleep.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, c *api.Client, _ []string) (string, error) {
		return "this host has left the cluster", c.Leave(ctx)
	})
}

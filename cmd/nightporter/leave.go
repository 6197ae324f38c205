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
for a while needs no leave: stop the daemon, or let it sleep. Its agent ends, and joins anew when it is started again.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, c *api.Client, _ []string) (string, error) {
		return leftAdvice, c.Leave(ctx)
	})
}

const leftAdvice = `this host has left the cluster, and its agent has ended
so that it does not join again at the next boot: systemctl disable nightporter
and take it out of "nodes" in the configuration of the others`

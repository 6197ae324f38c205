package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func forgetVerb(sh *shell) *cobra.Command {
	return simple(sh, &cobra.Command{
		Use:   "forget NODE",
		Short: "Remove a dead host, or one whose key has changed",
		Long: `Remove the record of a host that will not come back, or that was installed anew and so has another key.
It is refused for a host that is alive. A forgotten host may join again as a new one; a new machine in its place
that runs already joins by itself.

A host that was named as gone in a recovery is looked for until it is a member again. To forget it says that it does not
come back with its old state, and ends that.`,
		Example: `  nightporter forget echo`,
		Args:    takes(1, 1, "name one NODE"),
	}, func(ctx context.Context, c *api.Client, args []string) (string, error) {
		return "forgot " + args[0], c.Forget(ctx, args[0])
	})
}

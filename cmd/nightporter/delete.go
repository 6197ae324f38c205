package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func deleteVerb(sh *shell) *cobra.Command {
	return simple(sh, &cobra.Command{
		Use:   "delete SERVICE",
		Short: "Remove a service; nobody answers for its address any more",
		Example: `  nightporter get web > web.yaml    keep the definition
  nightporter delete web`,
		Args: takes(1, 1, "name one SERVICE"),
	}, func(ctx context.Context, c *api.Client, args []string) (string, error) {
		return "deleted " + args[0], c.Delete(ctx, args[0])
	})
}

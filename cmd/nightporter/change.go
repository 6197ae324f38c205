package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

// done is the answer of a verb that has nothing else to tell.
type done struct {
	Done string `json:"done"`
}

// simple makes a verb that asks the daemon for one thing and tells in one line that it is done.
func simple(sh *shell, cmd *cobra.Command, ask func(ctx context.Context, c *api.Client, args []string) (string, error)) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
			text, err := ask(ctx, c, args)
			if err != nil {
				return err
			}
			return sh.show(done{text}, func(p *page) { p.line("%s", text) })
		})
	}
	return cmd
}

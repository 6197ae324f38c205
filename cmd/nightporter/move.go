package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func moveVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:     "move SERVICE NODE",
		Short:   "Hand a service over to another host",
		Long:    `Hand a service over to another host that is awake. It returns when the new owner answers for the address; where that one does not, and another host gets the service, it says so.`,
		Example: `  nightporter move web alpha`,
		Args:    takes(2, 2, "name a SERVICE and a NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				m, err := c.Move(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				return sh.show(m, func(p *page) { drawMoved(p, m) })
			})
		},
	}
}

func drawMoved(p *page, m api.Moved) {
	if m.From == m.To {
		p.line("%s is on %s already (epoch %d)", m.Service, m.To, m.Epoch)
		return
	}
	p.line("%s: %s (epoch %d)", m.Service, arrow(m.From, m.To), m.Epoch)
}

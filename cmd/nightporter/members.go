package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func membersVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:     "members",
		Short:   "List the hosts of the cluster",
		Example: `  nightporter members -o json`,
		Args:    takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				nodes, err := c.Members(ctx)
				if err != nil {
					return err
				}
				return sh.show(nodes, func(p *page) { drawNodes(p, nodes) })
			})
		},
	}
}

func drawNodes(p *page, nodes []api.NodeStatus) {
	var rows [][]string
	for _, n := range nodes {
		addr := ""
		if n.Addr.IsValid() {
			addr = n.Addr.String()
		}
		rows = append(rows, []string{n.Name, addr, n.Power, n.PowerReason, moment(n.Since), yes(n.Alive), n.Policy, part(n), list(n.Wake), n.Version})
	}
	p.table([]string{"NODE", "ADDRESS", "POWER", "REASON", "SINCE", "ALIVE", "POLICY", "PART", "WAKE", "VERSION"}, rows)
}

// part tells what a node is in the cluster.
func part(n api.NodeStatus) string {
	parts := []string{"member"}
	if n.Voter {
		parts[0] = "voter"
	}
	if n.Leader {
		parts[0] = "leader"
	}
	if n.Role != "" {
		parts = append(parts, n.Role)
	}
	if n.Maintenance {
		parts = append(parts, "maintenance")
	}
	return strings.Join(parts, ",")
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

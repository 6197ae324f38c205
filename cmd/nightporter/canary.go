package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
)

// canaryPatience is above the longest canary that there is.
const canaryPatience = 16 * time.Minute

func canaryVerb(sh *shell) *cobra.Command {
	var accept bool
	cmd := &cobra.Command{
		Use:   "canary NODE",
		Short: "Have a host show that it can be woken",
		Long: `Put a host to sleep under supervision, call it with magic packets when it has not answered for five seconds,
and record whether it came back. A host with power: sleeps must have passed that before it may sleep by itself
or by "nightporter sleep" (canary: auto or manual in the configuration; with canary: off it need not). Another
kernel, network card, driver, suspend command or wake address ends it, and so does a wake that failed.

It is refused when the others cannot do without the host. Nothing but the network wakes it: be ready to press its
power button. It waits for the end, for sixteen minutes at most unless --timeout says otherwise, and goes on by
itself when this command ends before. Exit code 1: the host has not passed.

With --accept nothing is tried: the host counts as fit to be woken as it is now, because you say so.`,
		Example: `  nightporter canary delta
  nightporter canary delta -o json | jq .phases
  nightporter canary --accept delta`,
		Args: takes(1, 1, "name one NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f := cmd.Flag("timeout"); f != nil && !f.Changed {
				sh.timeout = canaryPatience
			}
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				if accept {
					return acceptFitness(ctx, sh, c, args[0])
				}
				r, err := c.Canary(ctx, args[0])
				if err != nil {
					return err
				}
				if err := sh.show(r, func(p *page) { drawCanary(p, r) }); err != nil {
					return err
				}
				if !r.Passed {
					return errors.New(r.Node + " has not passed its canary: " + r.Detail)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&accept, "accept", false, "try nothing: the host counts as fit to be woken, because you say so")
	return cmd
}

func acceptFitness(ctx context.Context, sh *shell, c *api.Client, node string) error {
	if err := c.AcceptFitness(ctx, node); err != nil {
		return err
	}
	text := node + " counts as fit to be woken, as it is now"
	return sh.show(done{text}, func(p *page) { p.line("%s", text) })
}

func drawCanary(p *page, r api.CanaryResult) {
	p.line("%s: %s (%s)", r.Node, r.Detail, r.Result)
	for _, t := range r.Phases {
		p.line("  %s after %s", t.Phase, short(t.After))
	}
}

// drawFitness tells of the hosts that may sleep whether they can be woken.
func drawFitness(p *page, nodes []api.NodeStatus, problems []string) {
	var rows [][]string
	for _, n := range nodes {
		f := n.WakeFitness
		if f == nil {
			continue
		}
		wol := f.WoL
		if f.SecureOn {
			wol += ", password"
		}
		last := f.Canary.Result
		if last == "" && f.Canary.Node != "" {
			last = "under way"
		}
		rows = append(rows, []string{n.Name, yes(f.MaySleep), wol, f.Mode, last, moment(f.Since), f.Revoked})
	}
	if len(rows) == 0 {
		return
	}
	p.line("")
	p.table([]string{"NODE", "MAY SLEEP", "WOL", "CANARY", "LAST", "FIT SINCE", "REVOKED"}, rows)
	for _, n := range nodes {
		f := n.WakeFitness
		if f != nil && f.Why != "" && !slices.ContainsFunc(problems, func(s string) bool { return strings.Contains(s, f.Why) }) {
			p.line("%s may not sleep: %s", n.Name, f.Why)
		}
	}
}

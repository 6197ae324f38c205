package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
	"nightporter/config"
)

// setDone is the answer of `set`.
type setDone struct {
	Failover api.Duration `json:"failover_seconds"`
	Note     string       `json:"note"`
}

func setVerb(sh *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Change a setting of the whole cluster",
		Args:  takesNone,
		RunE:  showHelp,
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "failover DURATION",
		Short: "Change how long a service may be without an owner when a host dies",
		Long: fmt.Sprintf(`Change how long a service may be without an owner when a host dies, from %s to %s. All other timing
follows from it. Below %s it is for quiet hardware only.`, config.FailoverMin, config.FailoverMax, config.FailoverQuiet),
		Example: `  nightporter set failover 2s`,
		Args:    takes(1, 1, "name one DURATION, like 2s"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := failover(args[0])
			if err != nil {
				return usageError{err}
			}
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				if err := c.Set(ctx, api.Settings{Failover: api.Duration(d)}); err != nil {
					return err
				}
				result := setDone{api.Duration(d), config.FailoverNote(d)}
				return sh.show(result, func(p *page) {
					p.line("failover is %s now", d)
					if result.Note != "" {
						p.line("note: %s", result.Note)
					}
				})
			})
		},
	})
	cmd.AddCommand(setInrushVerb(sh))
	return cmd
}

func failover(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time; write it like 1s or 300ms", s)
	}
	if d < config.FailoverMin || d > config.FailoverMax {
		return 0, fmt.Errorf("failover %s is out of range; choose from %s to %s", d, config.FailoverMin, config.FailoverMax)
	}
	return d, nil
}

// inrushDone is the answer of `set wake-inrush`.
type inrushDone struct {
	Inrush int `json:"wake_inrush"` // 0 = any number
}

const inrushMost = 1000

func setInrushVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "wake-inrush NUMBER",
		Short: "Change how many hosts are woken at one time for clients",
		Long: `Change how many hosts are woken at one time for clients, so that they do not draw their start current together:
1 to 1000, or 0 for any number; 4 where it was never set. A host counts from its first magic packet until it is
back, for ten seconds at most. Others wait in the order in which their clients came. A wake by "nightporter wake",
and one that the quorum needs, never waits.`,
		Example: `  nightporter set wake-inrush 2`,
		Args:    takes(1, 1, "name one NUMBER, like 2"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 0 || n > inrushMost {
				return usageError{fmt.Errorf("%q is not a number of hosts; write one from 1 to %d, or 0 for no limit", args[0], inrushMost)}
			}
			limit := n
			if n == 0 {
				limit = config.NoLimit
			}
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				if err := c.Set(ctx, api.Settings{Inrush: limit}); err != nil {
					return err
				}
				return sh.show(inrushDone{n}, func(p *page) {
					if n == 0 {
						p.line("any number of hosts may be woken at one time now")
						return
					}
					p.line("at most %s may be woken at one time now", count(n, "host"))
				})
			})
		},
	}
}

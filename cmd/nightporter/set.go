package main

import (
	"context"
	"fmt"
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

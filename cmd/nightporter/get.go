package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
	"nightporter/config"
)

func getVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "get [SERVICE...]",
		Short: "Print the definitions of services, as apply reads them",
		Example: `  nightporter get > services.yaml
  nightporter get web -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				all, err := c.Services(ctx)
				if err != nil {
					return err
				}
				chosen, err := choose(all, args)
				if err != nil {
					return err
				}
				return sh.show(chosen, func(p *page) { p.lines(strings.TrimSuffix(config.FormatServices(fromAPI(chosen)), "\n")) })
			})
		},
	}
}

// choose picks services by name, all when no name is given.
func choose(all []api.Service, names []string) ([]api.Service, error) {
	if len(names) == 0 {
		return all, nil
	}
	known := make([]string, len(all))
	for i, s := range all {
		known[i] = s.Name
	}
	var out []api.Service
	for _, n := range names {
		i := slices.Index(known, n)
		if i < 0 {
			return nil, api.UnknownService(n, known)
		}
		out = append(out, all[i])
	}
	return out, nil
}

func fromAPI(in []api.Service) []config.Service {
	out := make([]config.Service, len(in))
	for i, s := range in {
		out[i] = config.Service{Name: s.Name, Addresses: s.Addresses, Mode: s.Mode, MAC: net.HardwareAddr(s.MAC), Targets: s.Targets, Hold: s.Hold, Holds: s.Holds, Replay: s.Replay}
		for _, p := range s.Ports {
			out[i].Ports = append(out[i].Ports, config.Port(p))
		}
		out[i].Wake = config.WakeRules{Allow: s.Wake.Allow, Deny: s.Wake.Deny, Budget: s.Wake.Budget, BudgetAll: s.Wake.BudgetAll, AsleepAtLeast: time.Duration(s.Wake.AsleepAtLeast)}
		out[i].Unit = config.Unit{Name: s.Unit, Manage: s.Manage}
		for _, c := range s.Checks {
			out[i].Checks = append(out[i].Checks, config.Check{
				Kind: c.Kind, Port: c.Port, Path: c.Path, Host: c.Host, StatusMin: c.StatusMin, StatusMax: c.StatusMax, Name: c.Name,
				Interval: time.Duration(c.Interval), Timeout: time.Duration(c.Timeout), Rise: c.Rise, Fall: c.Fall,
			})
		}
	}
	return out
}

func toAPI(in []config.Service) []api.Service {
	out := make([]api.Service, len(in))
	for i, s := range in {
		out[i] = api.Service{Name: s.Name, Addresses: s.Addresses, Mode: s.Mode, MAC: api.MAC(s.MAC), Targets: s.Targets, Hold: s.Hold, Holds: s.Holds, Replay: s.Replay}
		for _, p := range s.Ports {
			out[i].Ports = append(out[i].Ports, api.Port(p))
		}
		out[i].Wake = api.WakeRules{Allow: s.Wake.Allow, Deny: s.Wake.Deny, Budget: s.Wake.Budget, BudgetAll: s.Wake.BudgetAll, AsleepAtLeast: api.Duration(s.Wake.AsleepAtLeast)}
		out[i].Unit, out[i].Manage, out[i].Checks = s.Unit.Name, s.Unit.Manage, []api.Check{}
		for _, c := range s.Checks {
			out[i].Checks = append(out[i].Checks, api.Check{
				Kind: c.Kind, Port: c.Port, Path: c.Path, Host: c.Host, StatusMin: c.StatusMin, StatusMax: c.StatusMax, Name: c.Name,
				Interval: api.Duration(c.Interval), Timeout: api.Duration(c.Timeout), Rise: c.Rise, Fall: c.Fall,
			})
		}
	}
	return out
}

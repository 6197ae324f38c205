package main

import (
	"context"
	"fmt"
	"net"
	"slices"

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
				return sh.show(chosen, func(p *page) { fmt.Fprint(&p.buf, config.FormatServices(fromAPI(chosen))) })
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
		out[i] = config.Service{Name: s.Name, Addresses: s.Addresses, MAC: net.HardwareAddr(s.MAC), Targets: s.Targets, Hold: s.Hold, Replay: s.Replay}
		for _, p := range s.Ports {
			out[i].Ports = append(out[i].Ports, config.Port(p))
		}
	}
	return out
}

func toAPI(in []config.Service) []api.Service {
	out := make([]api.Service, len(in))
	for i, s := range in {
		out[i] = api.Service{Name: s.Name, Addresses: s.Addresses, MAC: api.MAC(s.MAC), Targets: s.Targets, Hold: s.Hold, Replay: s.Replay}
		for _, p := range s.Ports {
			out[i].Ports = append(out[i].Ports, api.Port(p))
		}
	}
	return out
}

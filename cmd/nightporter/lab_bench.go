package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/chaos/bench"
)

// labBenchCommand measures on labs of its own.
func labBenchCommand() *cobra.Command {
	o := bench.Options{Version: version}
	var only []string
	var raw string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast and how small it is, on labs of its own",
		Long: `Build one lab after the other and measure: what a client sees when the holder's host loses its power, how
long a planned move leaves the identity closed, of one service and of 200 at once, how soon a client's SYN becomes a magic packet, what an
idle agent costs, and what the kernel's fence does (as root only). Where keepalived is installed, it is measured beside. All samples go to --out as JSON.

With the usual numbers it takes about half an hour. After Ctrl-C the labs are taken down, and what was measured
until then is shown. The tables are ` + strings.Join(bench.Names(), ", ") + `.`,
		Example: `  nightporter lab bench
  nightporter lab bench --out samples.json
  nightporter lab bench --only move,wake --runs 20`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Only = only
			if err := o.Check(); err != nil {
				return usageError{err}
			}
			o.Say = func(line string) {
				fmt.Fprintln(cmd.ErrOrStderr(), time.Now().Format("15:04:05"), line)
			}
			report, err := bench.Run(cmd.Context(), o)
			if len(report.Tables) == 0 {
				return err
			}
			if raw != "" {
				err = errors.Join(err, writeSamples(raw, report))
			}
			return errors.Join(err, report.Show(cmd.OutOrStdout()))
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Runs, "runs", 100, "how often what promises medians and maxima is run")
	f.IntVar(&o.Slow, "slow", 20, "how often the slow ones are run")
	f.DurationVar(&o.Idle, "idle", time.Minute, "how long the idle agents are looked at")
	f.StringSliceVar(&only, "only", nil, "the tables to measure, instead of all")
	f.StringVar(&raw, "out", "", "a file for all samples, as JSON")
	return cmd
}

// fenceCostsCommand measures inside a host of a lab, for the bench.
func fenceCostsCommand() *cobra.Command {
	return &cobra.Command{
		Use: bench.FenceCostsVerb + " LINK ADDRESS PEER ROUNDS", Short: "Called by the bench itself", Hidden: true, Args: cobra.ExactArgs(4),
		Example: "  nightporter lab " + bench.FenceCostsVerb + " eth0 10.77.0.200 10.77.0.12:8080 10",
		RunE: func(cmd *cobra.Command, args []string) error {
			ip0, err := netip.ParseAddr(args[1])
			if err != nil {
				return usageError{err}
			}
			peer, err := netip.ParseAddrPort(args[2])
			if err != nil {
				return usageError{err}
			}
			rounds, err := strconv.Atoi(args[3])
			if err != nil {
				return usageError{err}
			}
			return agent.FenceCosts(cmd.OutOrStdout(), args[0], ip0, peer, rounds)
		},
	}
}

func writeSamples(path string, r bench.Report) error {
	body, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("keep the samples: %w", err)
	}
	if err := os.WriteFile(path, append(body, '\n'), 0o644); err != nil {
		return fmt.Errorf("keep the samples: %w", err)
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/chaos/check"
	chaosrun "nightporter/chaos/run"
)

// chaosRuns is the folder for the folders of runs.
const chaosRuns = "nightporter-chaos"

func chaosVerb(sh *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break a cluster in a lab in every way, and prove that it keeps its promises",
		Long: `Build a lab of hosts in network namespaces, let clients use its services and operators change them, and break
everything meanwhile: daemons killed and stopped, hosts without power or suspended, links cut, partitions, frames lost,
delayed, doubled and reordered, disks slow, full and corrupted, processors taken away, clocks shifted, a foreign host that
uses an address, bytes from strangers. An observer at every port of the switch writes down who used which identity and
when. In the end everything is healed, and the run is judged from what was seen: I1 to I10 of docs/design.md.

This machine's own network is not touched, and its clock is never set.`,
		Args: cobra.NoArgs,
		RunE: showHelp,
	}
	cmd.AddCommand(chaosRunCommand(sh), chaosReplayCommand(sh), chaosListCommand(sh))
	return cmd
}

// errPromise ends a run that found something: exit code 1.
var errPromise = errors.New("not every promise was kept")

func chaosFlags(cmd *cobra.Command, o *chaosrun.Options) {
	f := cmd.Flags()
	f.IntVar(&o.Hosts, "hosts", 0, fmt.Sprintf("how many hosts, %d to %d, witnesses included; two fifths of those that are none may sleep; without it the seed chooses the shape, in five of eight cases with five hosts", chaosrun.LeastHosts, chaosrun.MostHosts))
	f.IntVar(&o.Witnesses, "witnesses", 0, "how many of the hosts only vote; two at least must not be witnesses")
	f.DurationVar(&o.LookAfter, "look-after", 0, "look_after of the sleepers, 3s to 1m: their clocks wake them to look after the others, and nights come in which nobody else is awake; 0: off")
	f.DurationVar(&o.Idle, "idle", 0, "idle of the sleepers, 2s to 8s: they go to sleep by themselves, and are woken by clients who come back; 0: off")
	f.DurationVar(&o.Duration, "duration", 10*time.Minute, "how long the faults go on, 10s to 2h; building, healing and judging come on top")
	f.DurationVar(&o.Failover, "failover", time.Second, "the cluster's setting in the beginning, 200ms to 5s; operators change it meanwhile")
	f.StringVar(&o.Switch, "switch", chaosrun.Auto, "bridge: the kernel's; user: the lab's own switch, which can delay, double and reorder; auto: the one that the plan needs")
}

func chaosRunCommand(sh *shell) *cobra.Command {
	o := chaosrun.Options{Version: version}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "One run, from a seed",
		Long: `Make one run. The seed fixes the plan: which faults, when, to whom, and what clients and operators try. What comes of
it is the cluster's own doing, so the same seed makes the same plan and not the same run.

The run leaves a folder with the plan, the history, the verdicts as JSON, a page to look at (report.html), all frames
(wire.pcapng) and the agents' logs. Its exit code is 0 when every promise was kept, and 1 otherwise. In a run of five
minutes and more, a check that had nothing to judge counts as a failure as well.`,
		Example: `  nightporter chaos run
  nightporter chaos run --hosts 5 --duration 10m --seed 7
  nightporter chaos run --hosts 2
  nightporter chaos run --hosts 3 --witnesses 1
  nightporter chaos run --hosts 3 --look-after 4s
  nightporter chaos run --duration 1m --switch bridge --dir /tmp/run`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				o.Seed = rand.Uint64N(1_000_000)
			}
			if err := o.Check(); err != nil {
				return usageError{err}
			}
			if o.Dir == "" {
				o.Dir = filepath.Join(chaosRuns, fmt.Sprintf("%s-seed-%d", time.Now().Format("20060102-150405"), o.Seed))
			}
			return sh.chaos(cmd.Context(), o)
		},
	}
	chaosFlags(cmd, &o)
	cmd.Flags().Uint64Var(&o.Seed, "seed", 0, "the seed of the plan; without it one is drawn, and told")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "the run's folder; without it a new one in "+chaosRuns)
	return cmd
}

// chaos makes a run and shows what it came to.
func (sh *shell) chaos(ctx context.Context, o chaosrun.Options) error {
	enc := json.NewEncoder(sh.out)
	o.Tell = func(l chaosrun.Line) {
		if sh.output == "json" {
			_ = enc.Encode(l) // nothing of the run is lost when nobody reads it
			return
		}
		fmt.Fprintf(sh.out, "%9.3f  %-9s %s\n", l.At.Seconds(), l.Who, l.Text)
	}
	o.Tell(chaosrun.Line{Who: "run", Text: fmt.Sprintf("seed %d, folder %s", o.Seed, o.Dir)})
	result, wrong := chaosrun.Run(ctx, o)
	if result == nil {
		return fmt.Errorf("the run came to no verdict: %w", wrong)
	}
	if err := sh.showVerdicts(result.Verdicts, filepath.Join(o.Dir, chaosrun.ReportFile)); err != nil {
		return err
	}
	switch {
	case wrong != nil:
		return fmt.Errorf("the run did not come to its end: %w", wrong)
	case check.OK(result.Verdicts) && !result.OK():
		return fmt.Errorf("the run was long enough for every check, and these had nothing to judge: %s", strings.Join(result.Idle, ", "))
	case !result.OK():
		return errPromise
	}
	return nil
}

func (sh *shell) showVerdicts(all []check.Verdict, html string) error {
	return sh.show(all, func(p *page) {
		p.line("")
		for _, v := range all {
			p.line("%-15s %-8s %-8s %8d judged  %s", v.Check, v.Keeps, v.Word(), v.Judged, v.Promise)
			for _, c := range v.Seen {
				p.line("    %s", c)
			}
			for _, f := range v.Findings {
				p.line("    %s", f)
			}
			if v.More > 0 {
				p.line("    and %d more", v.More)
			}
		}
		p.line("")
		p.line("the page to look at: %s", html)
	})
}

func chaosReplayCommand(sh *shell) *cobra.Command {
	var only bool
	cmd := &cobra.Command{
		Use:   "replay DIR",
		Short: "Judge a run again, and make its plan again",
		Long: `Judge the history in a run's folder with the checks of this version, and then carry out the same plan once more, into
a new folder beside it. A seed fixes the plan and not the interleaving: what went wrong once may not show again, but its
history stays as it was.`,
		Example: `  nightporter chaos replay nightporter-chaos/20260101-120000-seed-7
  nightporter chaos replay --judge nightporter-chaos/20260101-120000-seed-7`,
		Args: takes(1, 1, "name one DIR, the folder of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			verdicts, o, err := chaosrun.Reconsider(args[0])
			if err != nil {
				return err
			}
			if err := sh.showVerdicts(verdicts, filepath.Join(args[0], chaosrun.ReportFile)); err != nil {
				return err
			}
			if only && !check.OK(verdicts) {
				return errPromise
			}
			if only {
				return nil
			}
			then := check.OK(verdicts)
			o.Version = version
			o.Dir = filepath.Join(filepath.Dir(filepath.Clean(args[0])), fmt.Sprintf("%s-seed-%d", time.Now().Format("20060102-150405"), o.Seed))
			if err := sh.chaos(cmd.Context(), o); err != nil || then {
				return err
			}
			return fmt.Errorf("this time every promise was kept; in the run that is replayed, %w", errPromise)
		},
	}
	cmd.Flags().BoolVar(&only, "judge", false, "only judge the history that is there")
	return cmd
}

func chaosListCommand(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "list [DIR]",
		Short: "The runs in a folder, with their verdicts",
		Long:  "List the runs whose folders are in DIR (" + chaosRuns + " in the current directory), oldest first.",
		Example: `  nightporter chaos list
  nightporter chaos list runs`,
		Args: takes(0, 1, "name one DIR at most"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := chaosRuns
			if len(args) > 0 {
				dir = args[0]
			}
			all, err := chaosrun.List(dir)
			if err != nil {
				return err
			}
			return sh.show(all, func(p *page) {
				if len(all) == 0 {
					p.line("there is no run in %s; make one with `nightporter chaos run`", dir)
				}
				for _, r := range all {
					p.line("%-40s seed %-8d %2d hosts %8s  %s", r.Dir, r.Seed, r.Hosts, r.Duration, r.Words())
				}
			})
		},
	}
}

// Command mutants looks whether the checks have teeth: it builds the program with its mistakes (internal/mutant), and for each
// of them makes random runs, all from one list of seeds, until a check finds it. The simulation comes first; what it does not
// find, or does not have, goes into the laboratory. The program without a mistake must pass on the same seeds.
//
// It prints a table for chaos/README.md, and its exit code is 1 when a mistake was not found, or something was found where none is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"nightporter/internal/mutant"
)

// search is one campaign.
type search struct {
	dir, program, sim, simDir string
	first, schedules, runs    uint64
	hosts                     int
	duration                  time.Duration
}

func main() {
	var s search
	var only string
	flag.StringVar(&s.dir, "dir", "bin/mutants", "for programs and failed runs")
	flag.Uint64Var(&s.first, "seed", 1, "where the seeds begin, for all mistakes alike")
	flag.Uint64Var(&s.schedules, "schedules", 1500, "how many seeds of the simulation a mistake may take")
	flag.Uint64Var(&s.runs, "runs", 10, "how many runs in the laboratory")
	flag.IntVar(&s.hosts, "hosts", 5, "of a laboratory")
	flag.DurationVar(&s.duration, "duration", 30*time.Second, "of a run in the laboratory")
	flag.StringVar(&only, "only", "", "mistakes, with commas; empty: all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := s.campaign(ctx, only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// build makes the program and the simulation, with the mistakes in them.
func (s *search) build(ctx context.Context) (err error) {
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	s.program, s.sim = filepath.Join(s.dir, "nightporter"), filepath.Join(s.dir, "sim.test")
	for _, args := range [][]string{
		{"build", "-tags", tag, "-o", s.program, "nightporter/cmd/nightporter"}, {"test", "-c", "-tags", tag, "-o", s.sim, "nightporter/internal/sim"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building: %w\n%s", err, out)
		}
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "nightporter/internal/sim").Output()
	s.simDir = strings.TrimSpace(string(out))
	return err
}

const tag = "mutant"

func (s *search) campaign(ctx context.Context, only string) (bool, error) {
	if err := s.build(ctx); err != nil {
		return false, err
	}
	all := targets()
	if only != "" {
		names := strings.Split(only, ",")
		all = slices.DeleteFunc(all, func(t target) bool { return !slices.Contains(names, t.mutant.String()) })
	}
	out := make([]outcome, len(all))
	err := s.each(all, out, func(o *outcome) error {
		if o.target.wire {
			return nil
		}
		return s.hunt(ctx, o, simName, s.schedules, s.simulate)
	})
	// One laboratory at a time: it wants the machine for itself.
	for i := range out {
		if err == nil && len(out[i].checks) == 0 {
			err = s.hunt(ctx, &out[i], labName, s.runs, s.lab)
		}
	}
	if err != nil {
		return false, err
	}
	clean, err := s.clean(ctx, out)
	writeTable(os.Stdout, out)
	missed := slices.ContainsFunc(out, func(o outcome) bool { return len(o.checks) == 0 })
	return clean && !missed, err
}

// each looks for two mistakes at a time.
func (s *search) each(all []target, out []outcome, do func(*outcome) error) error {
	slots := make(chan struct{}, 2)
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, t := range all {
		out[i] = outcome{target: t, tried: map[string]int{}}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(&out[i])
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// harness makes runs from seeds.
type harness func(ctx context.Context, setting string, first, count uint64, see func(run) bool) error

// hunt makes runs of a mistake until it is found.
func (s *search) hunt(ctx context.Context, o *outcome, name string, most uint64, by harness) error {
	began, before := time.Now(), o.took
	o.harness = name
	err := by(ctx, mutant.Setting(o.target.mutant), s.first, most, func(r run) bool {
		o.tried[name]++
		o.checks = o.target.found(r.verdicts)
		switch {
		case r.lost != "":
			tell("%s: %s %d came to no verdict: %s", o.target.mutant, name, r.seed, r.lost)
		case len(o.checks) == 0 && r.verdicts != nil:
			tell("%s: %s %d shows something else: %s", o.target.mutant, name, r.seed, failures(r.verdicts))
		}
		return len(o.checks) == 0
	})
	o.took = before + time.Since(began)
	tell("%s", o.row())
	return err
}

// clean makes the same runs without a mistake, as many as the most that one of them took.
func (s *search) clean(ctx context.Context, all []outcome) (bool, error) {
	good := true
	for name, by := range map[string]harness{simName: s.simulate, labName: s.lab} {
		most := 0
		for _, o := range all {
			most = max(most, o.tried[name])
		}
		if most == 0 {
			continue
		}
		err := by(ctx, mutant.Setting(0), s.first, uint64(most), func(r run) bool {
			if r.lost != "" || r.verdicts != nil {
				good = false
				tell("without a mistake: %s %d: %s%s", name, r.seed, r.lost, failures(r.verdicts))
			}
			return true
		})
		tell("without a mistake: %d seeds of %s, all passed: %v", most, name, good)
		if err != nil {
			return false, err
		}
	}
	return good, nil
}

func tell(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...) }

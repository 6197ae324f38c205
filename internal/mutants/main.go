// Command mutants looks whether the checks have teeth: it builds the program with its mistakes (internal/mutant), and for each
// of them makes random runs, all from one list of seeds, until a check finds it. Three judges make runs: the search of the lease
// package, the simulation, and the laboratory; a mistake goes to those that can see it, the cheapest first. The lease search
// also makes mistakes of its own, around the same code. The program without a mistake must pass on the same seeds.
//
// It prints tables for chaos/README.md, and its exit code is 1 when a mistake was not found, or something was found where none is.
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
	"time"

	"nightporter/internal/mutant"
)

// search is one campaign.
type search struct {
	dir, program, sim, simDir, lease string
	first, schedules, runs           uint64
	hosts                            int
	duration                         time.Duration
}

func main() {
	var s search
	var only string
	flag.StringVar(&s.dir, "dir", "bin/mutants", "for programs and failed runs")
	flag.Uint64Var(&s.first, "seed", 1, "where the seeds of the simulation and the laboratory begin, for all mistakes alike")
	flag.Uint64Var(&s.schedules, "schedules", 1000, "how many seeds of the simulation a mistake may take")
	flag.Uint64Var(&s.runs, "runs", 5, "how many runs in the laboratory")
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

// tag brings in the mistakes; clean is the setting that makes none.
const tag = "mutant"

var clean = mutant.Setting(0)

// build makes the program, the simulation and the lease search, with the mistakes in them.
func (s *search) build(ctx context.Context) (err error) {
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	s.program, s.sim, s.lease = filepath.Join(s.dir, "nightporter"), filepath.Join(s.dir, "sim.test"), filepath.Join(s.dir, "lease.test")
	for _, args := range [][]string{
		{"build", "-tags", tag, "-o", s.program, "nightporter/cmd/nightporter"},
		{"test", "-c", "-tags", tag, "-o", s.sim, "nightporter/internal/sim"},
		{"test", "-c", "-tags", tag, "-o", s.lease, "nightporter/lease"},
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

func (s *search) campaign(ctx context.Context, only string) (bool, error) {
	if err := s.build(ctx); err != nil {
		return false, err
	}
	began := time.Now()
	all, err := chosen(only)
	if err != nil {
		return false, err
	}
	flaws, err := s.flaws(ctx)
	if err != nil {
		return false, err
	}
	out := make([]outcome, len(all))
	for i, t := range all {
		out[i] = outcome{target: t, tried: map[string]int{}}
	}
	// Two at a time, but one laboratory: it wants the machine for itself.
	err = two(len(out), func(i int) error { return s.judge(ctx, &out[i], []string{leaseName, simName}) })
	for i := range out {
		if err == nil {
			err = s.judge(ctx, &out[i], []string{labName})
		}
	}
	if err != nil {
		return false, err
	}
	failed, err := s.clean(ctx, out)
	for i := range out {
		out[i].doubt(failed)
	}
	good := write(os.Stdout, out, flaws, failed)
	fmt.Printf("\nIt took %s.\n", time.Since(began).Round(time.Second))
	return good, err
}

// chosen gives the targets that are named; "" names all.
func chosen(only string) ([]target, error) {
	all := targets()
	if only == "" {
		return all, nil
	}
	var out []target
	for _, name := range strings.Split(only, ",") {
		i := slices.IndexFunc(all, func(t target) bool { return t.mutant.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no mutant %q", name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// two does n things, two at a time.
func two(n int, do func(int) error) error {
	next := make(chan int)
	done := make(chan error, 2)
	for range 2 {
		go func() {
			var err error
			for i := range next {
				err = errors.Join(err, do(i))
			}
			done <- err
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	return errors.Join(<-done, <-done)
}

func tell(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...) }

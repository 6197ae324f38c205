package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"nightporter/chaos/check"
	"nightporter/internal/mutant"
)

// The judges.
const (
	leaseName = "lease search"
	simName   = "sim"
	labName   = "chaos"
)

// run is what one seed came to.
type run struct {
	seed     uint64
	verdicts []check.Verdict // of a failure; nil: it passed
	lost     string          // why there is no verdict
}

// harness makes runs from seeds until see returns false.
type harness func(ctx context.Context, setting string, first, count uint64, see func(run) bool) error

func (s *search) harness(name string) (harness, uint64) {
	switch name {
	case leaseName:
		return s.leases, 0
	case simName:
		return s.simulate, s.schedules
	}
	return s.lab, s.runs
}

// judge hands a mistake to those of its judges that are named, in its order, until one has found it.
func (s *search) judge(ctx context.Context, o *outcome, names []string) error {
	for _, name := range o.target.judges {
		if len(o.checks) > 0 || !slices.Contains(names, name) {
			continue
		}
		if err := s.hunt(ctx, o, name); err != nil {
			return err
		}
	}
	return nil
}

// hunt makes runs of a mistake until it is found.
func (s *search) hunt(ctx context.Context, o *outcome, name string) error {
	by, most := s.harness(name)
	began, before := time.Now(), o.took
	o.harness = name
	err := by(ctx, mutant.Setting(o.target.mutant), s.first, most, func(r run) bool {
		o.tried[name]++
		o.seed, o.checks = r.seed, o.target.found(r.verdicts)
		switch {
		case r.lost != "":
			tell("%s: %s %d came to no verdict: %s", o.target.mutant, name, r.seed, r.lost)
		case len(o.checks) == 0 && r.verdicts != nil:
			tell("%s: %s %d shows something else: %s", o.target.mutant, name, r.seed, failures(r.verdicts))
		}
		return len(o.checks) == 0
	})
	o.took = before + time.Since(began)
	tell("%s: %s: %s", o.target.mutant, o.by(), o.seeds())
	return err
}

// failure is a run that failed without a mistake.
type failure struct {
	judge string
	run
}

// clean makes the same runs without a mistake, as many as the most that one of them took, and gives those that failed.
func (s *search) clean(ctx context.Context, all []outcome) (failed []failure, err error) {
	for _, name := range []string{leaseName, simName, labName} {
		most := 0
		for _, o := range all {
			most = max(most, o.tried[name])
		}
		if most == 0 {
			continue
		}
		parts := 1
		if name == simName {
			parts = 2
		}
		var mu sync.Mutex
		by, _ := s.harness(name)
		passed := 0
		err = two(parts, func(i int) error {
			first, count := part(s.first, uint64(most), uint64(i), uint64(parts))
			return by(ctx, clean, first, count, func(r run) bool {
				mu.Lock()
				defer mu.Unlock()
				if r.lost != "" || r.verdicts != nil {
					failed = append(failed, failure{name, r})
					tell("without a mistake: %s %d: %s%s", name, r.seed, r.lost, failures(r.verdicts))
				} else {
					passed++
				}
				return true
			})
		})
		tell("without a mistake: %d seeds of %s passed", passed, name)
		if err != nil {
			return failed, err
		}
	}
	return failed, nil
}

// part gives the i-th of n parts of count seeds.
func part(first, count, i, n uint64) (from, many uint64) {
	from, to := count*i/n, count*(i+1)/n
	return first + from, to - from
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"nightporter/chaos/check"
)

const (
	stories   = "TestInvariantsHoldInSeededStories"
	teeth     = "TestSearchHasTeeth"
	invariant = "invariants" // the name of the lease search's observer in the table
)

// leases is the lease package's search over the real voters and holders. It has its own list of seeds, from 0 on, and ends at
// the first story that breaks something; first and count say nothing to it.
func (s *search) leases(ctx context.Context, setting string, _, _ uint64, see func(run) bool) error {
	said, err := s.leaseTest(ctx, setting, stories)
	passed, broken := storiesTold(said)
	if passed == 0 && broken == nil {
		return fmt.Errorf("the lease search told nothing: %w: %s", err, last(said, 300))
	}
	for seed := range passed {
		if !see(run{seed: seed}) {
			return ctx.Err()
		}
	}
	if broken != nil {
		see(*broken)
	}
	return ctx.Err()
}

func (s *search) leaseTest(ctx context.Context, setting, test string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.lease, "-test.run=^"+test+"$", "-test.v", "-test.timeout=20m")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), setting)
	return cmd.CombinedOutput()
}

var (
	storyBroken = regexp.MustCompile(`: seed (\d+): (I\d+): (.*)`)
	storiesGood = regexp.MustCompile(`: (\d+) stories of \d+ steps in `)
	flawSeen    = regexp.MustCompile(`\.go:\d+: (.*) \| (\d+) stories, (\S+): (I\d+): `)
	flawMissed  = regexp.MustCompile(`\.go:\d+: (.*) \| seen by 0 of (\d+) stories`)
)

// storiesTold gives how many stories passed, and the one that did not.
func storiesTold(said []byte) (passed uint64, broken *run) {
	if m := storyBroken.FindSubmatch(said); m != nil {
		seed, err := strconv.ParseUint(string(m[1]), 10, 64)
		if err != nil {
			return 0, nil
		}
		return seed, &run{seed: seed, verdicts: []check.Verdict{{
			Check: invariant, Keeps: string(m[2]), State: check.Failed, Findings: []string{string(m[3])},
		}}}
	}
	if m := storiesGood.FindSubmatch(said); m != nil {
		passed, _ = strconv.ParseUint(string(m[1]), 10, 64)
	}
	return passed, nil
}

// flaw is a mistake that the lease search builds in itself, around the real code.
type flaw struct {
	name, breaks string // breaks "": nothing was broken, it was not found
	stories      int
	took         time.Duration
}

// flawsTold reads what the search for all of them told, in its order.
func flawsTold(said []byte) (out []flaw) {
	for line := range strings.Lines(string(said)) {
		if m := flawSeen.FindStringSubmatch(line); m != nil {
			n, nerr := strconv.Atoi(m[2])
			d, derr := time.ParseDuration(m[3])
			if nerr == nil && derr == nil {
				out = append(out, flaw{name: m[1], breaks: m[4], stories: n, took: d})
			}
		} else if m := flawMissed.FindStringSubmatch(line); m != nil {
			out = append(out, flaw{name: m[1]})
		}
	}
	return out
}

func (s *search) flaws(ctx context.Context) ([]flaw, error) {
	said, err := s.leaseTest(ctx, clean, teeth)
	out := flawsTold(said)
	if len(out) == 0 {
		return nil, fmt.Errorf("the lease search told of no mistake: %w: %s", err, last(said, 300))
	}
	return out, nil
}

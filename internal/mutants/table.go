package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"nightporter/chaos/check"
	"nightporter/internal/mutant"
)

// target is a mistake, and what must find it.
type target struct {
	mutant mutant.Name
	breaks []string // only a check that keeps one of these has found it: what else a run shows is something else
	wire   bool     // it is in what the simulation replaces: the laboratory must find it
}

// targets are all mistakes.
func targets() []target {
	return []target{
		{mutant: mutant.Uncleaned, breaks: []string{"I1"}},
		{mutant: mutant.Unarmed, breaks: []string{"I1", "I3"}},
		{mutant: mutant.MacvlanOnly, breaks: []string{"I1", "I3"}, wire: true},
		{mutant: mutant.GARP, breaks: []string{"I1"}},
		{mutant: mutant.NoHandOver, breaks: []string{"I7", "I8"}},
		{mutant: mutant.LateGuard, breaks: []string{"I5"}},
		{mutant: mutant.LostWake, breaks: []string{"I4"}},
		{mutant: mutant.EpochReuse, breaks: []string{"I9"}},
		{mutant: mutant.NoQuorumWake, breaks: []string{"I4"}},
		{mutant: mutant.NoAmnesiaWait, breaks: []string{"I1"}},
		{mutant: mutant.DeadlineFromArrival, breaks: []string{"I1", "I3"}},
		{mutant: mutant.ReleaseBeforeClose, breaks: []string{"I1"}},
		{mutant: mutant.NoRule2, breaks: []string{"I1"}},
		{mutant: mutant.NoSpacing, breaks: []string{"I1"}},
		{mutant: mutant.NoMargin, breaks: []string{"I1"}},
		{mutant: mutant.KeepsOn, breaks: []string{"I1", "I2"}},
		{mutant: mutant.LateAnswer, breaks: []string{"I1"}},
		{mutant: mutant.ReleaseAnyEpoch, breaks: []string{"I1"}},
	}
}

// found gives the failed checks that keep what a mistake breaks.
func (t target) found(all []check.Verdict) []string {
	var out []string
	for _, v := range all {
		kept := strings.Split(v.Keeps, ", ")
		if v.Check == "clean" && t.mutant != mutant.Uncleaned {
			continue // an address that is left behind says nothing about who used it
		}
		if v.State == check.Failed && slices.ContainsFunc(t.breaks, func(i string) bool { return slices.Contains(kept, i) }) {
			out = append(out, v.Check)
		}
	}
	return out
}

// outcome is what the search for one mistake came to.
type outcome struct {
	target  target
	harness string
	checks  []string       // that found it; none: it was not found
	tried   map[string]int // by harness: the seeds
	took    time.Duration
}

// row is a line of the table.
func (o outcome) row() string {
	by := "**not caught**"
	if len(o.checks) > 0 {
		by = o.harness + ": " + strings.Join(o.checks, ", ")
	}
	var tried []string
	for _, h := range []string{simName, labName} {
		if n := o.tried[h]; n > 0 {
			tried = append(tried, fmt.Sprintf("%d %s", n, h))
		}
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", o.target.mutant, strings.Join(o.target.breaks, ", "), by, strings.Join(tried, ", "), o.took.Round(time.Second))
}

func writeTable(w io.Writer, all []outcome) {
	fmt.Fprintln(w, "| mutant | breaks | caught by | seeds tried | time |")
	fmt.Fprintln(w, "|---|---|---|---|---|")
	for _, o := range all {
		fmt.Fprintln(w, o.row())
	}
}

// failures are the checks that did not pass, with the first thing that each found.
func failures(all []check.Verdict) string {
	var out []string
	for _, v := range all {
		if v.State != check.Passed && len(v.Findings) > 0 {
			out = append(out, v.Check+": "+v.Findings[0])
		}
	}
	return strings.Join(out, "; ")
}

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
	judges []string // that can see it, the cheapest first
	flaw   string   // the same mistake as the lease search makes it; "": it makes none such
}

// targets are all mistakes. What an agent does wrong comes to nothing in the lease search, which has no agent; what is wrong with a
// host's network is seen in the laboratory alone; and what is wrong with the voters is cheapest seen among voters.
func targets() []target {
	leaseFirst, simFirst, cluster := []string{leaseName, simName}, []string{simName, leaseName}, []string{simName, labName}
	sim, wire := []string{simName}, []string{labName}
	i1 := []string{"I1"}
	return []target{
		{mutant.Uncleaned, i1, cluster, ""},
		{mutant.Unarmed, []string{"I1", "I3"}, cluster, ""},
		{mutant.MacvlanOnly, []string{"I1", "I3"}, wire, ""},
		{mutant.GARP, i1, cluster, ""},
		{mutant.NoHandOver, []string{"I7", "I8"}, cluster, ""},
		{mutant.LateGuard, []string{"I5"}, cluster, ""},
		{mutant.LostWake, []string{"I4"}, cluster, ""},
		{mutant.EpochReuse, []string{"I9"}, cluster, ""},
		{mutant.NoQuorumWake, []string{"I4"}, cluster, ""},
		{mutant.NoAmnesiaWait, i1, leaseFirst, "a voter that forgot grants at once"},
		{mutant.DeadlineFromArrival, []string{"I1", "I3"}, sim, "the deadline counts from the answers' arrival"},
		{mutant.ReleaseBeforeClose, i1, sim, "the release leaves before the fence is closed"},
		{mutant.NoRule2, i1, leaseFirst, "rule 2 is missing"},
		{mutant.NoSpacing, i1, sim, "voter changes are not spaced"},
		{mutant.NoMargin, i1, sim, "no margin under drift"},
		{mutant.KeepsOn, []string{"I1", "I2"}, simFirst, "rule 4 is missing"},
		{mutant.LateAnswer, i1, leaseFirst, "a late answer reopens after the release"},
		{mutant.ReleaseAnyEpoch, i1, leaseFirst, "a release clears an entry of another epoch"},
		{mutant.Unready, []string{"I5"}, sim, ""},
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
	harness string   // the last judge
	checks  []string // that found it; none: it was not found
	seed    uint64   // where
	tried   map[string]int
	took    time.Duration
	dubious bool // the same seed fails the same way without the mistake
}

// doubt takes back what the program without a mistake shows, too, on the same seed.
func (o *outcome) doubt(failed []failure) {
	o.dubious = len(o.checks) > 0 && slices.ContainsFunc(failed, func(f failure) bool {
		return f.judge == o.harness && f.seed == o.seed && len(o.target.found(f.verdicts)) > 0
	})
}

func (o *outcome) caught() bool { return len(o.checks) > 0 && !o.dubious }

// by says who found it.
func (o *outcome) by() string {
	switch {
	case o.dubious:
		return "not shown: " + o.harness + " fails on the same seed without it, too"
	case len(o.checks) == 0:
		return "not by this build"
	}
	return o.harness + ": " + strings.Join(o.checks, ", ")
}

// seeds says how many were tried.
func (o *outcome) seeds() string {
	var tried []string
	for _, h := range []string{leaseName, simName, labName} {
		if n := o.tried[h]; n > 0 {
			tried = append(tried, fmt.Sprintf("%d %s", n, h))
		}
	}
	return strings.Join(tried, ", ")
}

// flawOf finds the mistake of the lease search that is the same; nil: it makes none such, or did not find it.
func (t target) flawOf(flaws []flaw) *flaw {
	i := slices.IndexFunc(flaws, func(f flaw) bool { return f.name == t.flaw && f.breaks != "" })
	if i < 0 {
		return nil
	}
	return &flaws[i]
}

// write prints the tables. It is true when every mistake was found, and nothing where none is.
func write(w io.Writer, all []outcome, flaws []flaw, failed []failure) bool {
	good := true
	fmt.Fprintln(w, "| mutant | breaks | caught by | seeds tried | time | the lease search's own |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	for i := range all {
		o, own := &all[i], "-"
		f := o.target.flawOf(flaws)
		if f != nil {
			own = fmt.Sprintf("%d stories, %s", f.stories, shown(f.took))
		}
		by := o.by()
		if !o.caught() && f == nil {
			good, by = false, "**"+by+"**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", o.target.mutant, strings.Join(o.target.breaks, ", "), by, o.seeds(), shown(o.took), own)
	}
	fmt.Fprintln(w, "\n| the lease search's own mistakes | breaks | stories until seen | time |")
	fmt.Fprintln(w, "|---|---|---|---|")
	for _, f := range flaws {
		if f.breaks == "" {
			good = false
			fmt.Fprintf(w, "| %s | | **not caught** | |\n", f.name)
			continue
		}
		fmt.Fprintf(w, "| %s | %s | %d | %s |\n", f.name, f.breaks, f.stories, shown(f.took))
	}
	if len(failed) > 0 {
		fmt.Fprintln(w, "\nWithout a mistake these failed:")
	}
	for _, f := range failed {
		good = false
		fmt.Fprintf(w, "- %s, seed %d: %s%s\n", f.judge, f.seed, f.lost, failures(f.verdicts))
	}
	return good
}

// shown rounds to what matters.
func shown(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
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

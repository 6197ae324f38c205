// Package check judges a history: does it keep what the cluster promises (I1 to I10)? Every check is a pure function.
// What could not be observed is not taken for granted: a check without its evidence is blind, and that is a failure.
package check

import (
	"fmt"
	"slices"
	"time"

	"nightporter/chaos/history"
)

// State is the outcome of a check.
type State string

// The outcomes. A check that had nothing to judge has passed with Judged 0: the run did not come to it.
const (
	Passed State = "passed"
	Failed State = "failed"
	Blind  State = "blind" // what it needs was not observed; that counts as a failure
)

// Verdict is what one check came to.
type Verdict struct {
	Check    string   `json:"check"`
	Promise  string   `json:"promise"` // what it watches over, a sentence
	Keeps    string   `json:"keeps"`   // the invariants: "I1, I2"
	State    State    `json:"state"`
	Judged   int      `json:"judged"`   // how many things were looked at
	Findings []string `json:"findings"` // what is wrong, a sentence each; at most findingsLimit
	More     int      `json:"more"`     // findings that were left out
	Seen     []Count  `json:"seen,omitempty"`
}

// Count is how often a run came to something that a promise is about.
type Count struct {
	What  string `json:"what"` // "nobody was awake when an alarm went off"
	Times int    `json:"times"`
}

// String says it.
func (c Count) String() string { return fmt.Sprintf("%s: %d", c.What, c.Times) }

// Word is the outcome for people: of a promise that the run did not come to it says only that.
func (v Verdict) Word() string {
	if v.State == Passed && v.Judged == 0 {
		return "unproven"
	}
	return string(v.State)
}

const findingsLimit = 20

// rule is one check.
type rule struct {
	name, keeps, promise string
	judge                func(*history.History, *docket)
}

// docket is where a check writes down what it finds.
type docket struct {
	judged   int
	findings []string
	more     int
	blind    string
	seen     []Count
}

// saw counts something that the check wants to tell of; by 0 it tells that there was none.
func (d *docket) saw(what string, by int) {
	for i := range d.seen {
		if d.seen[i].What == what {
			d.seen[i].Times += by
			return
		}
	}
	d.seen = append(d.seen, Count{what, by})
}

func (d *docket) find(f string, args ...any) {
	if len(d.findings) == findingsLimit {
		d.more++
		return
	}
	d.findings = append(d.findings, fmt.Sprintf(f, args...))
}

// rules lists all checks, in the order of the report.
func rules() []rule {
	return []rule{
		{"single-holder", "I1, I2", "never two hosts use one identity, and each only under a record of the log", singleHolder},
		{"fails-closed", "I3", "a daemon that cannot renew is silenced by its kernel at the lease's end", failsClosed},
		{"wakes", "I4", "whoever knocks at a sleeping service sets off magic packets at once", wakes},
		{"rouses", "I4", "while nothing is wrong, a sleeping service is up soon after the first knock", rouses},
		{"called", "I4", "an acknowledged wake brings the host up, whenever it comes", called},
		{"waits", "I5", "no RST and no ICMP error answers a guarded port while its target is away", waits},
		{"durable", "I6", "what was acknowledged is still so at the end", durable},
		{"converges", "I7", "when everything is healed, every service has one holder and answers", converges},
		{"blackout", "I7", "no service is silent for long without a cause", blackout},
		{"quorum-guard", "I8", "no voluntary suspend takes the awake voters below a majority", quorumGuard},
		{"quorum-wake", "I4, I7", "whoever is awake calls the sleeping voters that a majority lacks", quorumWake},
		{"single-vote", "I7", "of two hosts the one votes that holds, so that the other's death is not felt", singleVote},
		{"steady-votes", "I7, I8", "of three hosts and more an odd number votes, those that are always on first", steadyVotes},
		{"last-net", "I4, I7", "where nobody is awake, a sleeper's alarm has it stay up, and call the voters that it needs", lastNet},
		{"hand-over", "I8", "no host suspends by itself while it owns a service", handOver},
		{"monotonic", "I9", "no epoch repeats or falls, and all hosts tell the same history", monotonic},
		{"linearizable", "I6, I9", "owners and definitions change as in one order that agrees with real time", linearizable},
		{"closed-door", "I10", "nothing from outside, and no fault, ends an agent", closedDoor},
		{"clean", "I1", "at the end only the holder shows the address", clean},
		{"controls", "-", "the observer flags two hosts that use one identity when it is shown them", controls},
	}
}

// Judge carries out all checks.
func Judge(h *history.History) []Verdict {
	var out []Verdict
	for _, r := range rules() {
		d := new(docket)
		r.judge(h, d)
		v := Verdict{Check: r.name, Promise: r.promise, Keeps: r.keeps, State: Passed, Judged: d.judged, Findings: d.findings, More: d.more, Seen: d.seen}
		switch {
		case len(d.findings) > 0:
			v.State = Failed
		case d.blind != "":
			v.State, v.Findings = Blind, []string{d.blind}
		case len(h.Blind) > 0:
			v.State, v.Findings = Blind, slices.Clone(h.Blind)
		}
		out = append(out, v)
	}
	return out
}

// OK says whether every check has passed.
func OK(all []Verdict) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(v Verdict) bool { return v.State != Passed })
}

// Idle lists the checks that had nothing to judge. A long run in a laboratory must come to all of them.
func Idle(all []Verdict) []string {
	var out []string
	for _, v := range all {
		if v.Judged == 0 {
			out = append(out, v.Check)
		}
	}
	return out
}

const clock = "15:04:05.000000"

func at(t time.Time) string { return t.Format(clock) }

func ms(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

func isHost(h *history.History, name string) bool {
	return slices.ContainsFunc(h.Setup.Hosts, func(x history.Host) bool { return x.Name == name })
}

package lease

import "time"

// flaw is one of the mistakes that are known to break the protocol. Each is made here, around the real code or in its
// state, so that the code itself carries no hooks.
type flaw int

const (
	none flaw = iota
	noAmnesia
	tableHidesAmnesia
	releaseIgnoresEpoch
	releaseIgnoresIncarnation
	lowerIncarnation
	repeatedIncarnation
	deadlineFromArrival
	mixedRounds
	lateAnswer
	releaseBeforeClose
	noMargin
	noRule2
	noRule3
	noRule4
	noSpacing
	spacingFromElection
	countUncommitted
	shorterTTL
	clockJumpIgnored
	answerAcrossSuspend
	noWaitAfterElection
	knownCommitted
	adoptedForgotten
	lastFlaw
)

// noSeq is no flaw but the control of adoptedForgotten: the voters' second line of defence is gone, and nothing breaks.
const noSeq = -1

// Mistakes of worlds with bent clocks (bend_test.go).
const (
	untold       = -2 - iota // nobody looks at how clocks are bent
	untoldVoter              // voters do not
	untoldHolder             // holders do not
	noRate                   // a holder shortens nothing for how its clock is bent now
	unwatched                // a voter that has its table back grants as if it had looked all the time
)

var flawNames = map[flaw]string{
	noAmnesia:                 "a voter that forgot grants at once",
	tableHidesAmnesia:         "a table of a voter that was still waiting ends the wait",
	releaseIgnoresEpoch:       "a release clears an entry of another epoch",
	releaseIgnoresIncarnation: "a release clears an entry of a later incarnation",
	lowerIncarnation:          "a lower incarnation is accepted",
	repeatedIncarnation:       "an incarnation is repeated",
	deadlineFromArrival:       "the deadline counts from the answers' arrival",
	mixedRounds:               "answers of different rounds are mixed",
	lateAnswer:                "a late answer reopens after the release",
	releaseBeforeClose:        "the release leaves before the fence is closed",
	noMargin:                  "no margin under drift",
	noRule2:                   "rule 2 is missing",
	noRule3:                   "rule 3 is missing",
	noRule4:                   "rule 4 is missing",
	noSpacing:                 "voter changes are not spaced",
	spacingFromElection:       "the spacing counts from the election",
	countUncommitted:          "the holder counts in an uncommitted configuration",
	shorterTTL:                "a smaller ttl shortens a running entry",
	clockJumpIgnored:          "a voter's clock jump is ignored",
	answerAcrossSuspend:       "an answer to a round from before the suspend counts",
	noWaitAfterElection:       "no spacing after an election",
	knownCommitted:            "rule 2 goes by the configuration known to be committed",
	adoptedForgotten:          "the epoch of a released adopted fence is forgotten",
}

// askVoter is Voter.Request with the flaw built in around it.
func (w *world) askVoter(v *simVoter, r Request) (Answer, bool) {
	f, l := w.facts(v), v.v.ledger(service)
	now := v.at(w.now)
	switch w.flaw {
	case noRule2:
		f.Config = 0
	case noRule3:
		f.Epoch, l.highest = 0, 0
	case noRule4:
		l.entry = Entry{}
	case lowerIncarnation:
		if m := l.mark(r.Node); r.Incarnation < m.Incarnation {
			m.Incarnation, m.Seq = 0, 0
			l.entry.Incarnation = 0
		}
	}
	if p := r.Prior; p != nil {
		w.spoilRelease(l, *p)
	}
	a, ok := v.v.Request(now, f, r)
	if w.flaw == shorterTTL && ok && a.Refusal == Granted {
		l.entry.Expires = now.Add(r.TTL)
	}
	return a, ok
}

func (w *world) tellVoter(v *simVoter, r Release) {
	w.spoilRelease(v.v.ledger(service), r)
	v.v.Release(v.at(w.now), r)
}

// spoilRelease clears what the release must not clear. The code refuses it twice over (by seq and by the entry), so the
// flaws go past both.
func (w *world) spoilRelease(l *ledger, r Release) {
	if m := l.mark(r.Node); (w.flaw == adoptedForgotten || w.flaw == noSeq) && m.Incarnation == r.Incarnation {
		m.Seq, m.ReleasedSeq = min(m.Seq, r.Seq-1), 0
	}
	e := &l.entry
	if e.Holder != r.Node {
		return
	}
	if w.flaw == releaseIgnoresEpoch && e.Incarnation <= r.Incarnation ||
		w.flaw == releaseIgnoresIncarnation && e.Epoch == r.Epoch {
		e.Released = true
	}
}

// uncommitted is the configuration in which a node counts that does not wait for the commit: what the log ended with when
// it looked, until it has applied that much and looks again.
func (w *world) uncommitted(n *simNode) (index int, members []int) {
	if n.flawed.index <= n.applied {
		n.flawed.index, n.flawed.members = w.raft.config(len(w.raft.log))
	}
	return n.flawed.index, n.flawed.members
}

// tellHolder is Holder.Answer and the agent's setting of the fence.
func (w *world) tellHolder(n *simNode, a Answer) {
	if w.flaw == mixedRounds && n.h.round != nil {
		a.Seq = n.h.round.seq
	}
	deadline, ok := n.h.Answer(a)
	if !ok {
		return
	}
	if w.bends {
		w.opens(n, a.Epoch, deadline)
		return
	}
	if w.flaw == deadlineFromArrival {
		deadline = n.at(w.now).Add(w.ttl - w.margin)
	}
	if deadline > n.at(w.now) {
		n.fence = fence{epoch: a.Epoch, deadline: deadline}
	}
}

// half is the smaller ttl that a holder sometimes names.
func (w *world) half() time.Duration { return w.ttl / 2 }

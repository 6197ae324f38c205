package agent

import (
	"context"
	"slices"
	"time"

	"nightporter/cluster"
	"nightporter/internal/mutant"
	"nightporter/lease"
)

// ask begins a round: every voter of the applied configuration is asked, this host's own ballot among them.
func (t *tenant) ask(now lease.Boot) {
	timing := t.wish.Timing
	if mutant.On(mutant.NoMargin) { // breaks I1 where clocks drift
		timing.Margin = 0
	}
	if t.granted != 0 && t.jumped() {
		t.resumed()
	}
	t.countSuspends()
	if t.overslept {
		t.nextAsk = now.Add(timing.Renew)
		return
	}
	req, ok := t.holder.Begin(now, t.epoch, t.wish.Quorum, timing.TTL, timing.Margin, t.prior)
	if !ok {
		t.nextAsk = now.Add(timing.Renew)
		return
	}
	t.sayReady()
	t.sayOpen(now)
	t.asked, t.nextAsk, t.offset = now, now.Add(timing.Renew), offset(t.clock)
	if t.opened {
		// Until a majority has answered: messages get lost, and a failover that was just raised is refused by voters that
		// have not applied it yet. The running lease gets shorter meanwhile.
		t.nextAsk = min(t.nextAsk, now.Add(unrenewed(t.deadline.Sub(now))))
	}
	engaged := t.engaged()
	t.out.engage(engaged)
	for _, voter := range t.wish.Quorum.Voters {
		if voter != t.self {
			t.out.send(voter, cluster.Message{Requests: []lease.Request{req}, Engaged: engaged})
		}
	}
	if slices.Contains(t.wish.Quorum.Voters, t.self) {
		if a, ok := t.out.vote(req); ok {
			t.answer(a)
		}
	}
}

// unrenewed is when a holder whose lease is not renewed asks again, and looks how its clock is bent meanwhile: so often towards the end
// that what it has not seen is nothing.
func unrenewed(left time.Duration) time.Duration { return max(left/3, 5*time.Millisecond) }

// measure looks how this host's clock was bent since the last look. What it lost shortens the lease that runs and the round that is
// under way, and the kernel's deadline comes before that by what the clock will lose if it goes on so: the kernel counts by
// CLOCK_BOOTTIME, with this program or without.
func (t *tenant) measure() {
	bent := t.ruler.look()
	lost := bent.Behind - t.bent.Behind
	t.bent = bent
	t.holder.FellBehind(lost)
	if t.granted == 0 {
		return
	}
	t.granted = t.granted.Add(-lost)
	if !t.opened || t.hold == nil {
		return
	}
	until := bent.Until(t.clock.Boot(), t.granted)
	if until.Add(shortenFrom) >= t.deadline {
		return
	}
	if err := t.hold.Extend(time.Duration(until)); err != nil {
		t.fail(doExtend, err)
		t.lapse("its lease cannot be shortened as its clock falls behind")
		t.nextAsk, t.nextCheck = 0, 0
		return
	}
	t.deadline = until
}

// shortenFrom is by how much a deadline must be too late to be set again at once: the margin has it, and quartz alone makes as much in a
// lease of minutes.
const shortenFrom = 200 * time.Microsecond

// countSuspends reads, before a round begins, how many suspends the kernel has seen. Where there was one, the fence has shut
// itself, and nothing that was granted before still counts.
func (t *tenant) countSuspends() {
	if t.hold == nil {
		return
	}
	now, err := t.hold.Generation()
	if err != nil {
		t.fail(doOpen, err) // the fence is opened with the old count, if at all: it stays shut if that is wrong
		return
	}
	if now != t.generation {
		if t.generation != 0 || t.opened {
			t.log.Info("this host was on its way into a suspend: the lease is asked for anew", "service", t.service, "epoch", t.epoch)
		}
		t.resumed()
		t.overslept = t.overslept && t.generation != 0 // the first count says nothing of a sleep
		t.generation = now
	}
}

// sayReady tells the former owner that everything here is prepared, so that it may close. It is repeated with each
// round until the fence is open.
func (t *tenant) sayReady() {
	prev := t.wish.Prev
	if prev != "" && prev != t.self && !t.opened && !t.wish.Hush && t.probed == t.epoch && (!cluster.Serves(t.wish.Own.Reason) || t.maySwitch(t.clock.Boot())) {
		t.out.send(prev, cluster.Message{Prepared: []cluster.Tenure{{Service: t.service, Epoch: t.epoch}}})
	}
}

// openFor is how long the former owner is told with each round that the fence is open here: he may wait for that before he sleeps or
// stops, and a message gets lost. It is as long as a host waits that is to sleep.
const openFor = 10 * time.Second

func (t *tenant) sayOpen(now lease.Boot) {
	prev := t.wish.Prev
	if prev != "" && prev != t.self && t.opened && now.Sub(t.openedAt) < openFor {
		t.out.send(prev, cluster.Message{Open: []cluster.Tenure{{Service: t.service, Epoch: t.epoch}}, Listening: t.listening()})
	}
}

// jumped says whether there was a suspend since the running round began, as far as the clocks can tell.
func (t *tenant) jumped() bool { return (offset(t.clock) - t.offset).Abs() > wakeJitter }

// answer takes one voter's answer; the one that completes a majority opens the fence or moves its deadline.
func (t *tenant) answer(a lease.Answer) {
	if t.jumped() {
		t.resumed() // the round began before a suspend: its deadline is on a clock that no longer counts
		return
	}
	t.measure()
	deadline, ok := t.holder.Answer(a)
	if !ok {
		t.refused(a)
		return
	}
	if mutant.On(mutant.DeadlineFromArrival) { // breaks I1 and I3
		deadline = t.clock.Boot().Add(t.wish.Timing.TTL - t.wish.Timing.Margin)
	}
	if t.epoch == 0 || a.Epoch != t.epoch {
		if mutant.On(mutant.LateAnswer) && t.hold != nil { // breaks I1; the holder, too, would not take the answer
			_ = t.hold.Open(time.Duration(deadline), t.generation) // a mistake has no second chance
		}
		return // given up meanwhile
	}
	if (!t.wish.Mine || t.wish.Own.Epoch != t.epoch) && !mutant.On(mutant.KeepsOn) {
		return // about to be given up: the old deadline is enough
	}
	t.prior, t.majority = nil, t.clock.Boot()
	if t.nextAsk > t.majority { // else something calls for another round at once
		t.nextAsk = max(t.nextAsk, t.asked.Add(t.wish.Timing.Renew))
	}
	if t.wish.Hush {
		return // it opens nothing
	}
	t.granted = max(t.granted, deadline)
	t.deadline = max(t.deadline, t.bent.Until(t.clock.Boot(), t.granted))
	t.open()
}

// refused sets the time of the next round by what the refusals say: as soon as a majority could grant, but no busier
// than a millisecond and no lazier than a renewal.
func (t *tenant) refused(a lease.Answer) {
	refusals := t.holder.Refused()
	if a.Refusal == lease.Granted || len(refusals) == 0 || t.opened {
		return
	}
	voters := len(t.wish.Quorum.Voters)
	need := voters/2 + 1
	silent := voters - len(refusals) // granted or not heard: they may count
	if silent >= need {
		return
	}
	var left []time.Duration
	for _, r := range refusals {
		if r.Refusal == lease.HeldByOther || r.Refusal == lease.Amnesia {
			left = append(left, r.Remaining)
		}
	}
	if len(left) < need-silent {
		return
	}
	slices.Sort(left)
	wait := left[need-silent-1] + 200*time.Microsecond
	t.nextAsk = min(t.nextAsk, t.clock.Boot().Add(max(wait, time.Millisecond)))
}

// open carries the lease into the kernel: only with a finished probe and no foreign holder.
func (t *tenant) open() {
	now := t.clock.Boot()
	end := t.bent.Until(now, t.granted)
	if t.hold == nil || t.probed != t.epoch || now >= end || t.wish.Hush {
		return
	}
	if len(t.foreign) > 0 && t.onForeign == conflictStop {
		return
	}
	if t.wish.Serving && t.doors.epoch != t.epoch {
		t.keepDoors(now) // no port may refuse anybody before it is known who listens
	}
	if !t.opened && !mutant.On(mutant.LateGuard) && (t.mustGuard() && !t.guarded || t.wish.Serving && t.doors.unset) {
		return // what must not answer would: the guard is tried again with the next round
	}
	t.deadline = max(t.deadline, end)
	until := time.Duration(end)
	if mutant.On(mutant.Unarmed) { // breaks I3: only the daemon itself still closes
		until += time.Hour
	}
	if t.opened {
		if err := t.hold.Extend(until); err != nil {
			t.fail(doExtend, err)
			t.nextCheck = 0 // somebody may have removed it
			return
		}
		t.well(doExtend)
		return
	}
	if err := t.hold.Open(until, t.generation); err != nil {
		t.fail(doOpen, err)
		return
	}
	at := t.clock.Boot()
	t.well(doOpen, doExtend)
	t.opened, t.openedAt, t.announced = true, now, 0
	t.keepSwitch(now)
	t.announce(now)
	t.nextCheck = now.Add(checkEvery)
	t.out.all(cluster.Message{Open: []cluster.Tenure{{Service: t.service, Epoch: t.epoch}}, Listening: t.listening()})
	t.silences.ended(t, now)
	t.log.Info("identity opened", "service", t.service, "epoch", t.epoch, "reason", t.wish.Own.Reason, "boottime_ns", int64(at))
}

// announce sends one round of gratuitous ARP and neighbour advertisements, and tells the nodes once more that the
// tenure is open for as long as somebody may wait for it.
func (t *tenant) announce(now lease.Boot) {
	err := t.hold.Announce(func() bool { return t.opened && t.clock.Boot() < t.deadline })
	if err != nil {
		t.fail(doAnnounce, err)
	} else {
		t.well(doAnnounce)
	}
	if t.announced > 0 {
		t.out.all(cluster.Message{Open: []cluster.Tenure{{Service: t.service, Epoch: t.epoch}}, Listening: t.listening()})
	}
	t.announced++
	t.nextSay = now.Add(announceWait(t.announced))
}

// giveUp closes the fence, and only then releases: the release goes to every voter and, with the hint, to the heir.
func (t *tenant) giveUp(now lease.Boot) {
	if t.hold != nil && !mutant.On(mutant.ReleaseBeforeClose) { // breaks I1: then it is closed when it is taken down
		if err := t.hold.Close(); err != nil && now < t.deadline {
			if t.seized == nil {
				t.log.Error("fence cannot be closed: nothing is released before the kernel's deadline", "service", t.service, "epoch", t.epoch, "err", err)
			}
			t.seized = err
			return
		}
	}
	at := t.clock.Boot()
	t.seized = nil
	t.opened = false
	if t.desk != nil {
		t.desk.leave(t.service)
	}
	if t.replays.sight != nil {
		t.replays.sight.Again() // what comes from now on is the next holder's
	}
	if rel, ok := t.holder.Release(); ok && rel.Epoch == t.epoch {
		t.release, t.acked, t.heir = &rel, false, t.wish.Own.Owner
		t.nextTell, t.tellUntil = now, now.Add(t.wish.Timing.TTL)
		t.tell(now)
	}
	t.reportFlows(now)
	t.leaveDoors()
	t.log.Info("identity released", "service", t.service, "epoch", t.epoch, "reason", t.wish.Own.Reason, "heir", t.wish.Own.Owner, "boottime_ns", int64(at))
	t.epoch, t.released, t.closedAt, t.probed, t.deadline, t.granted = 0, t.epoch, now, 0, 0, 0
	t.foreign = nil
	clear(t.trouble)
}

// lastWords is how often the release is sent by an agent that stops: nobody is left to wait for an acknowledgement.
const lastWords = 3

// tell repeats a release until every voter has acknowledged it or the lease would have run out by itself.
func (t *tenant) tell(now lease.Boot) {
	if t.release == nil || t.acked || now < t.nextTell {
		return
	}
	if now >= t.tellUntil {
		t.release = nil
		return
	}
	t.sendRelease()
	t.nextTell = now.Add(t.wish.Timing.Renew / 2)
}

// sendRelease sends it to every voter and, as the hint, to the heir.
func (t *tenant) sendRelease() {
	rel := *t.release
	if t.heir != "" && t.heir != t.self {
		t.out.send(t.heir, cluster.Message{Handed: []lease.Release{rel}})
	}
	for _, voter := range t.wish.Quorum.Voters {
		if voter != t.self {
			t.out.send(voter, cluster.Message{Releases: []lease.Release{rel}})
		} else if a, ok := t.out.free(rel); ok {
			t.ack(a)
		}
	}
}

// ack takes a voter's acknowledgement.
func (t *tenant) ack(a lease.Ack) {
	if t.release != nil && t.holder.Acked(a, t.wish.Quorum.Voters) {
		t.acked = true
	}
}

// handed is the former holder's word that its fence is closed: the release travels with this host's own request.
func (t *tenant) handed(r lease.Release) {
	if r.Service != t.service || r.Node == t.self {
		return
	}
	if t.prior == nil || r.Epoch > t.prior.Epoch {
		t.prior, t.handedAt, t.handedEpoch = &r, t.clock.Boot(), r.Epoch
		if t.epoch > r.Epoch && !t.opened {
			t.nextAsk = 0
		}
	}
}

// ready is the new owner's word that it has applied the record and prepared everything.
func (t *tenant) ready(epoch uint64) {
	if t.prepared == nil {
		t.prepared = make(map[uint64]bool)
	}
	t.prepared[epoch] = true
}

// startProbe asks the LAN whether a host outside the cluster has the address, beside everything else.
func (t *tenant) startProbe(ctx context.Context) {
	t.probing = true
	epoch, hold, wait, cards := t.epoch, t.hold, t.wish.Timing.Probe, t.wish.Cards
	t.probes.Go(func() {
		found, err := hold.Probe(ctx, wait, cards)
		select {
		case t.inbox <- func() { t.probeEnded(epoch, found, err) }:
		case <-ctx.Done():
		}
	})
}

// probeRetry is the pause after a probe that could not be made: the interface may be on its way back.
const probeRetry = 200 * time.Millisecond

func (t *tenant) probeEnded(epoch uint64, found []foreign, err error) {
	t.probing = false
	if epoch != t.epoch || t.hold == nil {
		return
	}
	if t.opened {
		t.strangers(found, err)
		return
	}
	if err != nil {
		t.fail(doProbe, err)
		t.nextProbe = t.clock.Boot().Add(probeRetry)
		return
	}
	if len(found) == 0 && len(t.foreign) > 0 {
		t.log.Info("the foreign holder is gone", "service", t.service)
	}
	t.foreign, t.probed = found, epoch
	t.well(doProbe)
	t.nextProbe = t.clock.Boot().Add(strangerEvery)
	if len(found) == 0 {
		t.well(doClaim)
	} else {
		t.complain(doClaim, t.foreignProblem(found[0]))
		t.nextProbe = t.clock.Boot().Add(foreignEvery)
		if t.onForeign == conflictStop {
			return
		}
	}
	t.sayReady()
	if t.granted != 0 && t.jumped() {
		t.resumed() // before the ticks found it: what was granted opens nothing
		return
	}
	t.open()
}

// strangers takes in who else has the address of an identity that is open here. It is told and no more: whoever answers for an address could
// have a service given up otherwise.
func (t *tenant) strangers(found []foreign, err error) {
	t.nextProbe = t.clock.Boot().Add(strangerEvery)
	switch {
	case err != nil: // what keeps this host from asking is told elsewhere
	case len(found) == 0:
		t.foreign = nil
		t.well(doClaim)
	default:
		t.complain(doClaim, t.foreignProblem(found[0]))
		t.nextProbe = t.clock.Boot().Add(foreignEvery)
	}
}

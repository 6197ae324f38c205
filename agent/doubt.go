package agent

import (
	"sync"
	"time"

	"nightporter/lease"
)

// doubt is a host's state after it was away: without a link, suspended, stopped, or not started yet. A recovery may have left it behind
// meanwhile, so it holds nothing before it has called the others on a link that works. A recovery listens for longer than a lease, and the
// host where it was made calls in its turn before it holds: an absence of less than a stall is too short for all that.
//
// Most hosts need a majority besides, and hear of a recovery from whom they ask. One with the only vote needs nobody: it calls for longer, and
// without a link its vote grants nothing.
type doubt struct {
	clock Clock
	began func() // called when it begins, or has a link to go on with: somebody is to call the others

	mu    sync.Mutex
	in    bool
	link  bool
	seen  lease.Boot          // when this host was last known to run, with a link
	since lease.Boot          // since when it has been in doubt with a link
	round uint64              // of calls: answers of an earlier one say nothing
	rung  bool                // they are being called in this round
	heard map[string]struct{} // the addresses that answered in this round
	ended lease.Boot          // when the last doubt ended in which not all had answered; 0 = none did
}

// How long the others are called.
const (
	hailMost = time.Second     // a host on the same LAN answers within milliseconds; one that is off is found out after three seconds, and nobody is to wait for that
	hailLone = 5 * time.Second // with the only vote: a switch, or a card, may take its time to let frames through
	hailLate = time.Minute     // and for so long whoever did not answer is called often: with the spanning tree protocol a port takes half a minute
)

// newDoubt is that of an agent that starts; one that goes on from a former program has never stopped.
func newDoubt(clock Clock, goesOn bool, began func()) *doubt {
	now := clock.Boot()
	return &doubt{clock: clock, began: began, in: !goesOn, link: true, seen: now, since: now, heard: make(map[string]struct{})}
}

// over ends a doubt that has no ground.
func (d *doubt) over() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.in = false
}

// linked is told how the link is, whenever it may have changed.
func (d *doubt) linked(up bool) { d.note(&up) }

// present is told that this host runs, again and again.
func (d *doubt) present() { d.note(nil) }

// note takes in what is known at this moment; up = nil: the link is as before.
func (d *doubt) note(up *bool) {
	d.mu.Lock()
	now := d.clock.Boot()
	came := up != nil && *up && !d.link
	if up != nil {
		d.link = *up
	}
	begins := d.link && (now.Sub(d.seen) >= stall || came && d.in)
	if begins {
		d.in, d.since, d.ended, d.rung = true, now, 0, false
		d.round++
		clear(d.heard)
	}
	if d.link {
		d.seen = now
	}
	d.mu.Unlock()
	if begins {
		d.began()
	}
}

// calls gives the round in which the others are called now.
func (d *doubt) calls() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rung = true
	return d.round
}

// answered is told of an answer to a call of a round.
func (d *doubt) answered(round uint64, addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if round == d.round {
		d.heard[addr] = struct{}{}
	}
}

// look says whether this host is in doubt, and ends that when all that are awaited have answered, or after so long with a link.
func (d *doubt) look(awaited []string, most time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.in || !d.rung || len(awaited) > 0 && !d.link {
		return d.in
	}
	all := true
	for _, a := range awaited {
		_, is := d.heard[a]
		all = all && is
	}
	now := d.clock.Boot()
	if !all && now.Sub(d.since) < most {
		return true
	}
	d.in = false
	if !all {
		d.ended = now
	}
	return false
}

// is says whether this host is in doubt now, an absence included that nobody has told of yet.
func (d *doubt) is() bool {
	d.present()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.in
}

// hasLink says how the link is, as far as is known.
func (d *doubt) hasLink() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.link
}

// often says whether those who did not answer are still to be called often.
func (d *doubt) often() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.in && d.link || d.ended != 0 && d.clock.Boot().Sub(d.ended) < hailLate
}

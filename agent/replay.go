package agent

import (
	"bytes"
	"net"
	"slices"
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/wake"
)

// kept is what a host keeps, as the front of a service, of what it swallowed. The ears put into it on their own goroutines.
type kept struct {
	mu       sync.Mutex
	attempts wake.Swallowed
	flows    wake.Parked
	of       string   // the target whose connections the flows are
	since    uint64   // the tenure of it that they are from
	answered []uint16 // TCP ports at which attempts are not swallowed, but answered
}

// take runs f on what is kept.
func (k *kept) take(f func(*kept)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k)
}

// replays is the other half, on the tenant's own goroutine: the sockets, and the word of the target that is waited for.
type replays struct {
	index  int  // of the LAN interface that these are on
	lan    Wire // by the LAN interface, in this host's own name
	own    Wire // by the macvlan, in the name of the identity and behind its fence
	sight  Sight
	word   *cluster.Listening // what listens at the target that holds the identity now; nil = nothing to do
	since  lease.Boot         // when it came
	nextAt lease.Boot
}

// A replay leaves in bursts that the queue of a listening socket can take.
const (
	burst      = 64
	burstEvery = 10 * time.Millisecond
	// sightEvery is how often it is looked whether the target's announcement was seen, and sightLater how often after a second:
	// the target repeats it after 100 ms, 1 s and more.
	sightEvery = time.Millisecond
	sightLater = 100 * time.Millisecond
	// tidyEvery is how often a host that is no front any more looks whether it still keeps anything.
	tidyEvery = 5 * time.Second
)

// heard is called by the ears. What wakes somebody goes first.
func (t *tenant) heard(d wake.Demand) {
	at := time.Duration(t.clock.Boot()) // ages are counted by the agent's own clock, which in a lab may be off
	if d.Stage == wake.Attempt {
		if !t.serves.Load() {
			t.demand(d)
		}
		d.At = at
		t.kept.take(func(k *kept) {
			if d.Protocol == "tcp" && slices.Contains(k.answered, d.Dest.Port()) {
				k.attempts.Forget(d) // the client has its answer from the front
			} else {
				k.attempts.Put(d)
			}
		})
		return
	}
	d.At = at
	var wakes bool
	var answer []byte
	t.kept.take(func(k *kept) {
		k.attempts.Hear(d)
		wakes, answer = k.flows.Hear(d)
		d.Node = k.of
	})
	if wakes {
		t.demand(d)
	}
	if own := t.voice.Load(); answer != nil && own != nil && !d.Local {
		if err := (*own).Send(answer); err != nil {
			t.log.Debug("a keepalive was not answered", "service", t.service, "client", d.Client, "err", err)
		}
	}
}

// openReplays opens what a front needs before it is needed: opening and closing packet sockets takes its time.
func (t *tenant) openReplays() {
	lan, err := t.kernel.LAN()
	r := &t.replays
	if err == nil && r.index != lan.Index {
		t.closeReplays() // another card under the same name
		r.index = lan.Index
	}
	if err == nil && r.lan == nil {
		r.lan, err = t.reach.Wire(lan.Name)
	}
	if err == nil && r.sight == nil {
		r.sight, err = t.reach.Watch(lan.Name, t.wish.Service.Addresses)
	}
	if err == nil && r.own == nil {
		if r.own, err = t.reach.Wire(t.hold.Link()); err == nil {
			own := r.own
			t.voice.Store(&own)
		}
	}
	if err != nil {
		t.fail(doReplay, err) // the clients repeat themselves
		return
	}
	t.well(doReplay)
}

// muteReplays ends the voice on the macvlan, before that goes. No ear calls any more.
func (t *tenant) muteReplays() {
	if t.replays.own != nil {
		t.voice.Store(nil)
		_ = t.replays.own.Close() // a socket that only sends has nothing to lose
		t.replays.own = nil
	}
}

// closeReplays gives the rest back.
func (t *tenant) closeReplays() {
	t.muteReplays()
	if t.replays.lan != nil {
		_ = t.replays.lan.Close()
	}
	if t.replays.sight != nil {
		_ = t.replays.sight.Close()
	}
	t.replays = replays{}
}

// waiting says how many clients' attempts and segments are kept, and whether any of them is on this host.
func (t *tenant) waiting() (some, local bool) {
	t.kept.take(func(k *kept) {
		some, local = k.flows.Waiting()
		some = some || k.attempts.Len() > 0
		local = local || k.attempts.Local()
	})
	return some, local
}

// targetListens is the word of the host that has opened its fence.
func (t *tenant) targetListens(from string, l cluster.Listening) {
	if t.wish.Own.Owner != from || t.wish.Own.Epoch != l.Epoch || t.epoch != 0 {
		return // not the owner, or not yet as this host knows it: it is said again
	}
	if t.wish.Service.Replay == fsm.ReplayNone {
		return
	}
	now := t.clock.Boot()
	t.replays.word, t.replays.since, t.replays.nextAt = &l, now, now
	t.replay(now)
}

// replay gives the target what clients have said to this host, once the switches lead there: before the target's announcement came
// by, a frame to the identity would be sent back to where it came from.
func (t *tenant) replay(now lease.Boot) {
	r := &t.replays
	if r.word == nil || now < r.nextAt {
		return
	}
	some, local := t.waiting()
	if r.lan == nil || r.sight == nil || !some || t.epoch != 0 {
		r.word = nil
		t.flowsAreBack()
		return
	}
	if to := r.sight.Seen(); to == nil || !t.mayBe(to) {
		r.nextAt = now.Add(sightEvery)
		if now.Sub(r.since) > time.Second {
			r.nextAt = now.Add(sightLater)
		}
		return
	}
	if local && t.hold != nil {
		t.tearDown() // the client is on this host, where the address must not be any more when the answer comes
	}
	frames, more := t.pick(r, now)
	sent := 0
	for _, f := range frames {
		if err := r.lan.Send(f); err != nil {
			t.log.Warn("an attempt was not replayed: its client repeats it", "service", t.service, "err", err)
			continue
		}
		sent++
	}
	if sent > 0 {
		t.log.Info("replayed what clients said meanwhile", "service", t.service, "epoch", r.word.Epoch, "target", t.wish.Own.Owner, "frames", sent, "boottime_ns", int64(t.clock.Boot()))
	}
	if more {
		r.nextAt = now.Add(burstEvery)
		return
	}
	r.word = nil // what waits for a port that nobody listens at yet waits for the next word
	t.flowsAreBack()
}

// mayBe says whether the holder's announcements come from a hardware address: the identity's own, where it has one.
func (t *tenant) mayBe(mac net.HardwareAddr) bool {
	own := t.wish.Service.MAC.Hardware()
	return len(own) == 0 || bytes.Equal(own, mac)
}

// pick takes the next burst out of what is kept.
func (t *tenant) pick(r *replays, now lease.Boot) (frames [][]byte, more bool) {
	at, from, to := time.Duration(now), r.lan.Address(), r.sight.Seen()
	noLocal := t.hold != nil
	t.kept.take(func(k *kept) {
		if k.of == t.wish.Own.Owner {
			frames, more = k.flows.Take(noLocal, burst, at, from, to)
		}
		if more {
			return
		}
		p := wake.Pick{TCP: r.word.TCP, UDP: r.word.UDP, NoLocal: noLocal, Most: burst - len(frames)}
		var syns [][]byte
		syns, more = k.attempts.Take(p, at, from, to)
		frames = append(frames, syns...)
	})
	return frames, more
}

// keepReplays does what is due, and gives the sockets back when nothing is kept any more.
func (t *tenant) keepReplays(now lease.Boot) {
	if t.replays.word != nil {
		t.replay(now)
		return
	}
	if t.replays.lan == nil || t.hold != nil || t.epoch != 0 || now < t.replays.nextAt {
		return
	}
	t.replays.nextAt = now.Add(tidyEvery)
	t.kept.take(func(k *kept) { k.attempts.Age(time.Duration(now)) })
	if some, _ := t.waiting(); !some || t.wish.Service.Replay == fsm.ReplayNone {
		t.closeReplays()
	}
}

// beginKeeping drops what was kept of connections that are over: their target has held the identity since.
func (t *tenant) beginKeeping() {
	t.replays.word = nil
	t.kept.take(func(k *kept) {
		if k.since < t.wish.Served || t.wish.Serving {
			k.flows.Forget()
		}
	})
}

// replayWord reads the word for the usual form, which the log leaves out.
func replayWord(s string) fsm.Replay {
	if s == config.ReplayTCP {
		return fsm.ReplayTCP
	}
	return fsm.Replay(s)
}

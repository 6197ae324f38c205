package failures

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/chaos/lab"
	"nightporter/internal/labpage"
)

// The faults that a lab itself can make, with real agents, on the switch in user space: each is seen to arrive where it is
// meant to, and the cluster serves its client during it or after it.
func TestTheFaultsOfTheLab(t *testing.T) {
	w := foundOn(t, lab.SwitchUser, 3, "")
	w.whole(all)
	w.served("")
	w.roughPaths()
	w.sleptOver()
	w.slowDisk()
	w.failingDisk()
	w.garbage()
	w.starved()
	w.strayPage()
}

// roughPaths moves the service over paths that lose, double, delay and reorder.
func (w *world) roughPaths() {
	w.Helper()
	holder, epoch := w.whole(all)
	w.must(w.lab.Shape(w.limit(), lab.Shape{
		Loss: 0.02, Duplicate: 0.05, Reorder: 0.05, Delay: time.Millisecond, Jitter: 2 * time.Millisecond, Seed: 1,
	}))
	heir := others(all, holder)[0]
	w.await("the move is accepted", func() string {
		if out, err := w.lab.Host(heir).Output(w.limit(), "nightporter", "move", web, heir); err != nil {
			return out + err.Error()
		}
		return ""
	})
	w.holds([]string{heir}, epoch)
	w.served("")
	w.must(w.lab.Smooth(w.limit(), ""))
	w.whole(all)
}

// sleptOver lets the clocks of the holder say that it slept, and then lets it sleep.
func (w *world) sleptOver() {
	w.Helper()
	holder, _ := w.whole(all)
	from := w.length(holder)
	w.must(w.lab.Clock(w.limit(), holder, lab.ClockShift{Mono: -10 * time.Second}))
	w.says(holder, from, "this host was away")
	holder, epoch := w.whole(all)
	from = w.length(holder)
	w.must(w.lab.Host(holder).Freeze(w.limit()))
	asleep := time.Now()
	w.holds(others(all, holder), epoch)
	w.served(holder)
	w.must(w.lab.Host(holder).PressPower(w.limit()))
	w.must(w.lab.Host(holder).AwaitPower(w.limit(), lab.PowerUp))
	w.says(holder, from, "this host was away")
	st, err := w.lab.Status(w.limit())
	w.must(err)
	for _, h := range st.Hosts {
		if h.Name == holder && h.Clock.Mono > -time.Second {
			w.Errorf("%s slept, at least some of %v, and its clocks are off by %+v", holder, time.Since(asleep), h.Clock)
		}
	}
	w.whole(all)
	// A jump of both clocks is no sleep: every lease of this host has run out at once.
	holder, _ = w.whole(all)
	w.must(w.lab.Clock(w.limit(), holder, lab.ClockShift{Boot: time.Hour, Mono: time.Hour, Wall: -time.Hour}))
	w.whole(all)
	w.served("")
}

// slowDisk makes the disks of all slow: no command can be acknowledged before a majority has written it.
func (w *world) slowDisk() {
	w.Helper()
	const slow = 150 * time.Millisecond
	for _, h := range all {
		w.must(w.lab.Disk(w.limit(), h, lab.DiskFault{Delay: slow}))
	}
	began := time.Now()
	w.await("a command is accepted", func() string {
		began = time.Now()
		if out, err := w.lab.Host(w.leader()).Output(w.limit(), "nightporter", "set", "failover", "1100ms"); err != nil {
			return out + err.Error()
		}
		return ""
	})
	if took := time.Since(began); took < slow {
		w.Errorf("with slow disks a command took %v, less than one write (%v)", took, slow)
	}
	for _, h := range all {
		w.must(w.lab.Disk(w.limit(), h, lab.DiskFault{}))
	}
	w.await("a command is accepted", func() string {
		if out, err := w.lab.Host(w.leader()).Output(w.limit(), "nightporter", "set", "failover", "1s"); err != nil {
			return out + err.Error()
		}
		return ""
	})
	w.whole(all)
}

// failingDisk lets every write of the holder fail.
func (w *world) failingDisk() {
	w.Helper()
	victim, epoch := w.whole(all)
	from := w.length(victim)
	w.must(w.lab.Disk(w.limit(), victim, lab.DiskFault{Errno: syscall.EIO}))
	w.await(victim+" complains of its disk", func() string {
		for _, h := range all {
			w.write(h)
		}
		if st, err := w.ask(victim); err != nil || !strings.Contains(strings.Join(st.Problems, "\n"), "input/output error") {
			return "not yet"
		}
		return ""
	})
	w.replaced(victim, epoch, all, time.Now().Add(takeover))
	w.must(w.lab.Disk(w.limit(), victim, lab.DiskFault{}))
	w.says(victim, from, "this host can hold services again")
	w.whole(all)
}

// garbage changes nothing.
func (w *world) garbage() {
	w.Helper()
	holder, epoch := w.whole(all)
	sent, err := w.lab.Garbage(w.limit(), "c2", 1, 300)
	w.must(err)
	ends := map[string]int{}
	for _, it := range sent {
		ends[it.Network+" "+it.Kind+": "+it.End]++
		if it.Bytes == 0 || it.End == "answered" && strings.HasPrefix(it.Kind, "TLS") {
			w.Errorf("%+v", it)
		}
	}
	w.Logf("%v", ends)
	if h, e := w.whole(all); h != holder || e != epoch {
		w.Errorf("garbage moved the service from %s, epoch %d, to %s, epoch %d", holder, epoch, h, e)
	}
}

// starved lets the holder run for some of the time only. It may lose the service, and the client has it.
func (w *world) starved() {
	w.Helper()
	victim, _ := w.whole(all)
	w.must(w.lab.Starve(w.limit(), victim, 0.8, 500*time.Millisecond))
	w.served("")
	w.must(w.lab.Starve(w.limit(), victim, 0, 0))
	w.whole(all)
}

// strayPage names a page to an agent that is not the one of its host.
func (w *world) strayPage() {
	w.Helper()
	victim := all[2]
	w.put(victim, "before", "export "+labpage.Env+"=/etc/passwd")
	w.stop(victim)
	w.refusesToStart(victim, labpage.Env+" is set, but this is not a host of a lab")
	w.put(victim, "before", "")
	w.start(victim)
	w.whole(all)
	w.served("")
}

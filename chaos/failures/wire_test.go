package failures

import (
	"net"
	"net/netip"
	"strings"
	"sync"

	"nightporter/api"
	"nightporter/chaos/judge"
	"nightporter/chaos/lab"
)

// wire reads the capture at the switch and remembers which hosts used the identity of web, in order.
type wire struct {
	capture *lab.Capture
	done    chan struct{}

	mu    sync.Mutex
	turns judge.Turns
	last  map[string]judge.Use // of each host
}

func tap(w *world, mac net.HardwareAddr) *wire {
	w.Helper()
	c, err := w.lab.Capture(w.limit(), nil, false)
	w.must(err)
	x := &wire{capture: c, done: make(chan struct{}), last: map[string]judge.Use{}}
	id := judge.Identity{MAC: mac, Addrs: []netip.Addr{lab.ServiceAddr()}}
	go func() {
		defer close(x.done)
		for f := range c.Frames() {
			if !f.ToHost && strings.HasPrefix(f.Port, "h") && id.Claimed(f) {
				x.note(judge.Use{At: f.Time, Host: f.Port, Frame: f.Data})
			}
		}
	}()
	return x
}

func (x *wire) note(u judge.Use) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.turns.See(u)
	x.last[u.Host] = u
}

// lastOf is the newest use by a host; zero if there was none.
func (x *wire) lastOf(host string) judge.Use {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last[host]
}

// judge ends the capture and compares what it saw with the log: the hosts that used the identity must be owners, in the
// order of the epochs and not before them.
func (x *wire) judge(w *world, owners []api.Change) {
	w.Helper()
	dropped, err := x.capture.Stop()
	<-x.done
	if err != nil || dropped != 0 {
		w.Errorf("the capture lost %d frames (%v): it proves nothing", dropped, err)
	}
	if len(x.turns) == 0 {
		w.Error("nobody ever used the identity: the capture proves nothing")
	}
	if said := x.turns.Complaint(owners); said != "" {
		w.Error(said)
	}
}

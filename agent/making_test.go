package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/identity"
)

// dawdle makes each preparation of a host take a while.
func (k *fakeKernel) dawdle(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.slow = d
}

// A preparation that takes longer than a lease: the owner shows that it lives, opens when it is ready, and only with what was granted
// after that.
func TestASlowPreparation(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a := w.hosts["a"]
		a.kernel.dawdle(3 * time.Second)
		w.give("a", 1, "")
		for range 5 {
			w.pass(500 * time.Millisecond)
			if a.kernel.open() {
				t.Fatal("it is open before it is prepared")
			}
			asked, ok := w.hosts["b"].ballot.lastAsked("web", "a")
			if age := w.clock.Boot().Sub(asked.at); !ok || age > 500*time.Millisecond {
				t.Errorf("its last request is %v old (%v)", age, ok)
			}
		}
		a.kernel.mu.Lock()
		a.kernel.suspends++ // meanwhile this host was on its way into a suspend
		a.kernel.mu.Unlock()
		w.pass(time.Second)
		a.kernel.mu.Lock()
		armed, suspends := a.kernel.armed, a.kernel.suspends
		a.kernel.mu.Unlock()
		if !a.kernel.open() || armed != suspends {
			t.Errorf("prepared and not open: %v, armed with %d of %d", a.kernel.log(), armed, suspends)
		}
		opens := 0
		for _, e := range a.kernel.log() {
			if e == "open" {
				opens++
			}
		}
		if opens != 1 { // one with what was granted before would be shut by the fence itself, and opened again
			t.Errorf("it was opened %d times: %v", opens, a.kernel.log())
		}
	})
}

// A host that loses a service while it prepares it opens nothing, and clears away what it has made; so does one that ends.
func TestAPreparationThatComesTooLate(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := w.hosts["a"], w.hosts["b"]
		a.kernel.dawdle(3 * time.Second)
		w.give("a", 1, "")
		w.pass(time.Second)
		w.give("b", 2, "a")
		w.pass(time.Second)
		if !b.kernel.open() {
			t.Errorf("the next owner waits for one that holds nothing: %v", b.kernel.log())
		}
		w.pass(5 * time.Second)
		if log := a.kernel.log(); slices.Contains(log, "open") || !slices.Contains(log, "remove") {
			t.Errorf("it did %v", log)
		}
		b.kernel.dawdle(3 * time.Second)
		w.give("a", 3, "b") // and c ends in the middle of it
		c := w.hosts["c"]
		c.kernel.dawdle(time.Second)
		w.give("c", 4, "a")
		w.pass(500 * time.Millisecond)
		c.stop()
		<-c.ended
		if log := c.kernel.log(); !slices.Contains(log, "prepare") || !slices.Contains(log, "remove") {
			t.Errorf("the end in the middle of a preparation left it there: %v", log)
		}
	})
}

// Where only the interface's own MAC works, a host is unfit as long as there is a service that needs another one.
func TestUnfitForASecondMAC(t *testing.T) {
	k := &fakeKernel{}
	wifi := identity.LAN{Name: "wlan0", Up: true, OneMAC: "wlan0 is a Wi-Fi interface"}
	cable := identity.LAN{Name: "eth0", Up: true}
	both := map[string]fsm.Service{"nas": {Name: "nas", Mode: fsm.ModeAddress}, "web": {Name: "web"}}
	for _, c := range []struct {
		name string
		lan  identity.LAN
		err  error
		of   map[string]fsm.Service
		want string
	}{
		{"a cable", cable, nil, both, ""},
		{"Wi-Fi and a service with a MAC", wifi, nil, both, "this host can hold nothing while there are services in mode mac, such as web: wlan0 is a Wi-Fi interface"},
		{"Wi-Fi and none", wifi, nil, map[string]fsm.Service{"nas": both["nas"]}, ""},
		{"no interface", wifi, errors.New("it is gone"), both, "the LAN interface cannot be used: it is gone"},
		{"down", identity.LAN{Name: "eth0"}, nil, both, "the LAN interface eth0 is down"},
	} {
		if got := unfit(k, c.lan, c.err, c.of); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

package agent

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"nightporter/cluster"
	"nightporter/wake"
)

var (
	webDoor = netip.AddrPortFrom(testService.Addresses[0], 80)
	someone = netip.MustParseAddrPort("10.0.0.77:40000")
)

// segmentFrame is a TCP segment from the client as a packet socket gives it. seq counts from 100.
func segmentFrame(flags byte, seq uint32, data string) []byte {
	f := make([]byte, 54+len(data))
	f[12], f[13], f[14], f[23] = 8, 0, 0x45, 6
	binary.BigEndian.PutUint16(f[16:], uint16(40+len(data)))
	copy(f[26:], someone.Addr().AsSlice())
	copy(f[30:], webDoor.Addr().AsSlice())
	binary.BigEndian.PutUint16(f[34:], someone.Port())
	binary.BigEndian.PutUint16(f[36:], webDoor.Port())
	binary.BigEndian.PutUint32(f[38:], 100+seq)
	f[46], f[47] = 5<<4, flags
	copy(f[54:], data)
	return f
}

// says lets the client say something to a host that swallows.
func (h *worldHost) says(stage wake.Stage, frame []byte) {
	h.tenant.heard(wake.Demand{
		Stage: stage, Service: "web", Client: someone, Dest: webDoor, Protocol: "tcp", At: time.Duration(h.w.clock.Boot()), Frame: frame,
	})
}

// knocking is a front a that has swallowed a SYN, before the target b gets the identity.
func knocking(w *world) (a, b *worldHost) {
	a, b = w.hosts["a"], w.hosts["b"]
	w.give("a", 1, "")
	w.pass(time.Second)
	a.says(wake.Attempt, segmentFrame(2, 0, ""))
	return a, b
}

func (k *fakeKernel) shutDoors() []netip.AddrPort {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.shut)
}

func TestReplayWaitsForTheAnnouncement(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := knocking(w)
		if a.demands != 1 {
			t.Fatalf("%d demands", a.demands)
		}
		w.give("b", 2, "a")
		w.pass(400 * time.Millisecond)
		if !b.kernel.open() || a.ether.frames() != 0 {
			t.Fatalf("b open %v; %d frames left before the target's announcement was seen", b.kernel.open(), a.ether.frames())
		}
		a.ether.set(func(e *fakeEther) { e.announce = true })
		w.pass(3 * time.Millisecond)
		if a.ether.frames() != 1 {
			t.Fatalf("%d frames, want the SYN", a.ether.frames())
		}
		w.pass(time.Minute) // the word is repeated; the SYN is not
		if n := a.ether.frames(); n != 1 || w.hosts["c"].ether.frames() != 0 {
			t.Errorf("%d frames in the end, and %d of a host that kept nothing", n, w.hosts["c"].ether.frames())
		}
	})
}

// A front that was relieved by another one gives what it has kept, when the target is there.
func TestTwoFrontsInSuccession(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := knocking(w)
		w.give("c", 2, "a")
		w.pass(5 * time.Second)
		if !w.hosts["c"].kernel.open() || a.kernel.isPrepared() {
			t.Fatal("the second front did not take over")
		}
		w.give("b", 3, "c")
		w.pass(500 * time.Millisecond)
		a.ether.set(func(e *fakeEther) { e.announce = true })
		w.pass(time.Second) // the target repeats its word with each round
		if !b.kernel.open() || a.ether.frames() != 1 {
			t.Errorf("b open %v, %d frames from the first front", b.kernel.open(), a.ether.frames())
		}
	})
}

// A port that nobody listens at is shut before the fence opens, so nobody is refused; it opens when somebody listens, what was kept
// comes then, and it does not shut again when that one stops.
func TestDoors(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := knocking(w)
		a.ether.set(func(e *fakeEther) { e.announce = true })
		b.ether.set(func(e *fakeEther) { e.closed = []netip.AddrPort{webDoor} })
		w.give("b", 2, "a")
		w.pass(7 * time.Second)
		a.ether.set(func(e *fakeEther) { e.announce = true })
		if !b.kernel.open() || b.kernel.guarded() || !slices.Equal(b.kernel.shutDoors(), []netip.AddrPort{webDoor}) || a.ether.frames() != 0 {
			t.Fatalf("open %v, guarded %v, shut %v, %d frames", b.kernel.open(), b.kernel.guarded(), b.kernel.shutDoors(), a.ether.frames())
		}
		order(t, b.kernel.log(), "prepare", "guard false", "doors 1", "open")
		b.says(wake.Attempt, segmentFrame(2, 77, "")) // somebody comes now
		b.ether.set(func(e *fakeEther) { e.closed = nil })
		w.pass(2*lookSoon + 2*latency)
		if len(b.kernel.shutDoors()) != 0 || a.ether.frames() != 1 {
			t.Fatalf("the service listens: shut %v, %d frames", b.kernel.shutDoors(), a.ether.frames())
		}
		if n := len(b.ether.own); n != 1 || b.demands != 0 {
			t.Fatalf("the target let %d in who waited there, and called somebody %d times", n, b.demands)
		}
		b.ether.set(func(e *fakeEther) { e.closed = []netip.AddrPort{webDoor} })
		w.pass(time.Minute)
		if len(b.kernel.shutDoors()) != 0 {
			t.Error("the guard came back when the service stopped")
		}
		w.give("a", 3, "b")
		w.pass(time.Second)
		w.give("b", 4, "a")
		w.pass(time.Second)
		if len(b.kernel.shutDoors()) != 1 {
			t.Error("in the next tenure nobody listens, and the port is open")
		}
		w.give("a", 5, "b")
		w.pass(100 * time.Millisecond)
		if len(b.kernel.shutDoors()) != 0 {
			t.Error("the port is shut though the tenure is over")
		}
	})
}

// Where the kernel does not tell who listens, the service is served all the same.
func TestDoorsThatCannotBeLookedAt(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := knocking(w)
		b.ether.set(func(e *fakeEther) { e.err = errors.New("no such module") })
		w.give("b", 2, "a")
		w.pass(500 * time.Millisecond)
		a.ether.set(func(e *fakeEther) { e.announce = true })
		w.pass(time.Second)
		if !b.kernel.open() || len(b.kernel.shutDoors()) != 0 {
			t.Errorf("open %v, shut %v", b.kernel.open(), b.kernel.shutDoors())
		}
		if n := a.ether.frames(); n != 0 {
			t.Errorf("%d frames were replayed to a port that may refuse them", n)
		}
	})
}

// A word that is not the present owner's about the present tenure moves nothing.
func TestStaleWords(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, _ := knocking(w)
		w.mu.Lock()
		w.lose = func(_, _ string, m cluster.Message) bool { return len(m.Listening) > 0 }
		w.mu.Unlock()
		w.give("b", 2, "a")
		w.pass(time.Second)
		a.ether.set(func(e *fakeEther) { e.announce = true })
		for _, x := range []struct {
			from  string
			epoch uint64
		}{{"c", 2}, {"b", 1}, {"b", 3}} {
			a.tenant.do(func() {
				a.tenant.targetListens(x.from, cluster.Listening{Service: "web", Epoch: x.epoch, TCP: []netip.AddrPort{webDoor}})
			})
		}
		w.pass(time.Second)
		if n := a.ether.frames(); n != 0 {
			t.Errorf("%d frames were replayed", n)
		}
	})
}

// connected is a target b with one connection that gave the service to the front a. next is what it expects, from 100 on.
func connected(w *world) (a, b *worldHost) {
	a, b = w.hosts["a"], w.hosts["b"]
	b.ether.set(func(e *fakeEther) {
		e.flows = []wake.Flow{{Client: someone, Dest: webDoor, Next: 110, Window: 500, Known: true}}
	})
	w.give("b", 1, "")
	w.pass(time.Second)
	w.give("a", 2, "b")
	w.pass(100 * time.Millisecond)
	return a, b
}

// What a client says on a connection of the sleeping target wakes that target, and is replayed to it; keepalives are answered and
// wake nobody.
func TestConnectionsOfASleeper(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := connected(w)
		if s := b.tenant.shown.Load(); s.Reporting {
			t.Fatal("the report was not acknowledged")
		}
		for range 3 {
			a.says(wake.Later, segmentFrame(0x10, 9, "")) // a keepalive: the last byte that was acknowledged, once more
		}
		a.says(wake.Later, segmentFrame(0x10, 10, ""))
		if n := len(a.ether.answers); a.demands != 0 || n != 3 {
			t.Fatalf("%d demands, %d answers", a.demands, n)
		}
		a.says(wake.Later, segmentFrame(0x18, 10, "hello"))
		if a.demands != 1 || a.called != "b" {
			t.Fatalf("%d demands, for %q", a.demands, a.called)
		}
		w.give("b", 3, "a")
		w.pass(200 * time.Millisecond)
		a.ether.set(func(e *fakeEther) { e.announce = true })
		w.pass(time.Second)
		if a.ether.frames() != 1 {
			t.Fatalf("%d frames were replayed", a.ether.frames())
		}
		if out := a.ether.sent[0]; string(out[54:]) != "hello" {
			t.Errorf("replayed %x", out)
		}
		a.tenant.kept.take(func(k *kept) {
			if k.flows.Len() != 0 {
				t.Error("the connections are still the front's business")
			}
		})
	})
}

// A report that gets lost is repeated, and a host that is to sleep does not wait for its acknowledgement for ever.
func TestReportIsRepeated(t *testing.T) {
	for _, lost := range []int{3, 1 << 30} {
		story(t, func(t *testing.T, w *world) {
			n := 0
			w.lose = func(_, to string, m cluster.Message) bool {
				if len(m.Flows) > 0 && to == "a" {
					n++
					return n <= lost
				}
				return false
			}
			a, b := connected(w)
			w.pass(time.Second)
			known := 0
			a.tenant.kept.take(func(k *kept) { known = k.flows.Len() })
			if lasts := lost > 3; (known == 0) != lasts || b.tenant.shown.Load().Reporting != lasts {
				t.Fatalf("%d lost: %d known, reporting %v", lost, known, b.tenant.shown.Load().Reporting)
			}
			w.pass(reportFor)
			if b.tenant.shown.Load().Reporting {
				t.Error("it is reported for ever")
			}
		})
	}
}

func TestReportsOfConnectionsFitIntoMessages(t *testing.T) {
	var flows []wake.Flow
	for i := range wake.ParkedMost {
		flows = append(flows, wake.Flow{
			Client: netip.AddrPortFrom(netip.MustParseAddr("fd77:1234:5678:9abc:def0:1234:5678:9abc"), uint16(i)),
			Dest:   netip.AddrPortFrom(netip.MustParseAddr("fd77:1234:5678:9abc:def0:1234:5678:9abd"), 65535), Next: 1<<32 - 1, Window: 65535, Known: true,
		})
	}
	total := 0
	for _, r := range reportsOf("web", "a-node", 1<<60, flows) {
		b, err := cluster.EncodeMessage(cluster.Message{From: "a-node", Flows: []cluster.Flows{r}})
		if err != nil || len(b) > 16<<10 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		if total += len(r.Flows); r.Total != len(flows) {
			t.Errorf("a part says that there are %d", r.Total)
		}
	}
	if total != len(flows) {
		t.Errorf("%d are reported of %d", total, len(flows))
	}
}

// The program of the front is replaced while the target sleeps: what it knew of the target's connections is not lost with it.
func TestConnectionsSurviveAnUpgradeOfTheFront(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, _ := connected(w)
		if _, goesOn := w.replace("a", 50*time.Millisecond); !goesOn {
			t.Fatal("the front did not go on")
		}
		w.pass(100 * time.Millisecond)
		a.says(wake.Later, segmentFrame(0x10, 9, ""))
		a.says(wake.Later, segmentFrame(0x18, 10, "hello"))
		if len(a.ether.answers) != 1 || a.demands != 1 || a.called != "b" {
			t.Errorf("%d answers, %d demands, for %q", len(a.ether.answers), a.demands, a.called)
		}
	})
}

package agent

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"nightporter/cluster"
	"nightporter/front"
	"nightporter/fsm"
	"nightporter/identity"
	"nightporter/wake"
)

func tcp(n uint16, hold fsm.Hold) fsm.Port {
	return fsm.Port{Protocol: fsm.TCP, Number: n, Hold: hold}
}

// TestHoldsHaveOneForm: what says the same is written the same, so that applying it again changes nothing.
func TestHoldsHaveOneForm(t *testing.T) {
	for _, c := range []struct {
		name  string
		hold  string
		ports []fsm.Port
		want  fsm.Hold
		holds []fsm.Hold
	}{
		{"nothing said", "", []fsm.Port{tcp(22, ""), tcp(80, "")}, "drop", []fsm.Hold{"", ""}},
		{"one for all", "http", []fsm.Port{tcp(22, ""), tcp(80, "")}, "http", []fsm.Hold{"", ""}},
		{"each port the same", "", []fsm.Port{tcp(22, "proxy"), tcp(80, "proxy")}, "proxy", []fsm.Hold{"", ""}},
		{"one port", "", []fsm.Port{tcp(22, "proxy"), tcp(80, "")}, "drop", []fsm.Hold{"proxy", ""}},
		{"one port of another for all", "reject", []fsm.Port{tcp(22, "drop"), tcp(80, "")}, "drop", []fsm.Hold{"", "reject"}},
		{"drop said twice", "drop", []fsm.Port{tcp(22, "drop"), tcp(80, "")}, "drop", []fsm.Hold{"", ""}},
		{"no ports, which is refused later", "http", nil, "http", nil},
		{"an unknown word stays what it is", "park", []fsm.Port{tcp(22, "")}, "park", []fsm.Hold{""}},
	} {
		sv := withHolds(fsm.Service{Ports: c.ports}, c.hold)
		var got []fsm.Hold
		for _, p := range sv.Ports {
			got = append(got, p.Hold)
		}
		if sv.Hold != c.want || !slices.Equal(got, c.holds) {
			t.Errorf("%s: %s and %q, want %s and %q", c.name, sv.Hold, got, c.want, c.holds)
		}
	}
}

// doorway is a front that is only asked where it is.
type doorway struct{ left []string }

func (d *doorway) Ports() (four, six uint16) { return 4, 6 }
func (d *doorway) Leave(s string)            { d.left = append(d.left, s) }
func (d *doorway) Close() error              { return nil }

// newDesk is one at front "a" for a service on "t".
func newDesk(open func(front.Desk) (Front, error)) (d *desk, up *bool) {
	up = new(bool)
	sv := fsm.Service{
		Name: "nas", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.200")}, Hold: fsm.HoldDrop, Targets: []string{"t"},
		Ports: []fsm.Port{tcp(80, fsm.HoldHTTP), tcp(22, fsm.HoldProxy), tcp(445, ""), tcp(23, fsm.HoldReject)},
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	view := func() cluster.View {
		power := fsm.Asleep
		if *up {
			power = fsm.Awake
		}
		return cluster.View{
			Self: "a", Wall: at, Present: map[string]cluster.Presence{"t": {Alive: *up}},
			State: &fsm.State{
				Services: map[string]fsm.Service{"nas": sv},
				Nodes:    map[string]fsm.Node{"t": {Name: "t", Power: power, Addr: netip.MustParseAddrPort("192.0.2.14:7374")}},
				Wakes: []fsm.Wake{
					{Node: "t", Started: at.Add(-time.Minute), Ended: at.Add(-30 * time.Second), Result: fsm.GaveUp},
					{Node: "t", Started: at.Add(-4 * time.Second)},
				},
				WakeTimes: map[string]fsm.WakeTimes{"t": {Samples: []fsm.WakeSample{
					{ID: "1", Phases: fsm.Phases{Ready: 9 * time.Second}}, {ID: "2", Phases: fsm.Phases{Awake: time.Second}, Failed: true},
				}}},
			},
		}
	}
	d = &desk{
		self: "a", clock: &fakeClock{began: time.Now()}, machine: stateOf(view), view: view, gaveUp: func(string) string { return "" },
		ring: func(string) {}, open: open,
	}
	return d, up
}

type stateOf func() cluster.View

func (f stateOf) View() fsm.View { return fsm.View{State: f().State} }

func TestWhatAFrontAnswers(t *testing.T) {
	door := &doorway{}
	d, up := newDesk(func(front.Desk) (Front, error) { return door, nil })
	sv := d.view().State.Services["nas"]
	diverted := func(port uint16) identity.Answer { return identity.Answer{Port: port, Divert4: 4, Divert6: 6} }
	want := func(what string, list ...identity.Answer) {
		t.Helper()
		if got, err := d.answers(sv); err != nil || !slices.Equal(got, list) {
			t.Errorf("%s: %+v, %v, want %+v", what, got, err, list)
		}
	}
	route := func(port uint16) front.Kind { return d.Route(netip.AddrPortFrom(sv.Addresses[0], port)).Kind }
	want("asleep", diverted(80), diverted(22), identity.Answer{Port: 23})
	if route(80) != front.Page || route(22) != front.Proxy || route(445) != front.Refused || route(9) != front.Refused {
		t.Errorf("the ports go to %v %v %v %v", route(80), route(22), route(445), route(9))
	}
	d.Engaged("nas", 1)
	want("somebody waits to be passed on", diverted(80), diverted(22), identity.Answer{Port: 23})
	if _, ok := d.Upstream("nas", 22); ok {
		t.Error("there is a target to pass connections on to, and it sleeps")
	}
	*up = true
	want("connections are passed on", diverted(80), diverted(22), diverted(445), diverted(23))
	if at, ok := d.Upstream("nas", 22); !ok || at.String() != "192.0.2.14:22" {
		t.Errorf("the target is at %v, %v", at, ok)
	}
	if route(80) != front.Proxy || route(445) != front.Proxy {
		t.Errorf("while connections are passed on the ports go to %v and %v", route(80), route(445))
	}
	d.Engaged("nas", 0)
	want("no more", diverted(80), diverted(22), identity.Answer{Port: 23})
	d.leave("nas")
	if !slices.Equal(door.left, []string{"nas"}) {
		t.Errorf("the front was told that %v left", door.left)
	}
}

// TestAFrontThatCannotBeOpened: those ports swallow, the others are answered, and it is tried again.
func TestAFrontThatCannotBeOpened(t *testing.T) {
	broken := errors.New("no such protocol")
	tried := 0
	d, _ := newDesk(func(front.Desk) (Front, error) { tried++; return nil, broken })
	sv := d.view().State.Services["nas"]
	for range 2 {
		got, err := d.answers(sv)
		if !errors.Is(err, broken) || !slices.Equal(got, []identity.Answer{{Port: 23}}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if tried != 1 {
		t.Errorf("it was tried %d times at once", tried)
	}
}

func TestWaitingSaysHowLongItTakes(t *testing.T) {
	d, _ := newDesk(nil)
	w := d.Waiting("nas")
	if w.Since != 4*time.Second || w.Usual != 9*time.Second || len(w.Hosts) != 1 || w.Hosts[0] != (front.Host{Name: "t", State: "asleep"}) {
		t.Errorf("%+v", w)
	}
}

// TestAHeldClientIsADemand: as its first packet was.
func TestAHeldClientIsADemand(t *testing.T) {
	d, _ := newDesk(nil)
	var heard []wake.Demand
	d.demand = func(w wake.Demand) { heard = append(heard, w) }
	client, dest := netip.MustParseAddrPort("192.0.2.7:4000"), netip.MustParseAddrPort("192.0.2.200:22")
	d.Knock("nas", client, dest)
	if len(heard) != 1 || heard[0].Service != "nas" || heard[0].Client != client || heard[0].Dest != dest || portName(heard[0]) != "tcp/22" || heard[0].Node != "" {
		t.Errorf("heard %+v", heard)
	}
}

package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
)

// calledGossip notes who is called; at nobody's address anybody answers.
type calledGossip struct {
	gossip
	mu      sync.Mutex
	members []cluster.Member
	calls   map[string]int
}

func (g *calledGossip) Members() []cluster.Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.members)
}

func (g *calledGossip) Join(addrs []string) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range addrs {
		g.calls[a]++
	}
	return 0, errors.New("nobody is there")
}

func (g *calledGossip) of(addr string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[addr]
}

// peersOnDisk remembers nothing.
type peersOnDisk struct{ Disk }

func (peersOnDisk) LoadPeers() ([]netip.AddrPort, error) { return nil, nil }
func (peersOnDisk) SavePeers([]netip.AddrPort) error     { return nil }

// A host that was lost in a recovery is called where it was, often at first and every 15 s from then on, until it is a member again or in touch: it
// may come back and not know where its cluster goes on. One that is met and has not let go is called every second.
func TestWhoWasLostIsCalled(t *testing.T) {
	const lost = "10.77.0.12:7373"
	mine, before, _, _, _, _ := family()
	state := fsm.Empty()
	state.Cluster.ID = mine
	state.Nodes["h1"] = fsm.Node{Name: "h1", Power: fsm.Awake, Gossip: netip.MustParseAddrPort("10.77.0.11:7373")}
	state.Recoveries = []fsm.Recovery{{From: before, Lost: []string{"h2"}, LostAt: map[string]netip.AddrPort{"h2": netip.MustParseAddrPort(lost)}}}
	old := cluster.Member{Name: "h2", Status: cluster.Alive, Addr: netip.MustParseAddrPort("10.77.0.99:7373"), Meta: cluster.Meta{Cluster: before}}
	silent := old
	silent.Meta.Silent = true
	for name, c := range map[string]struct {
		back        bool // it is a member again
		member      *cluster.Member
		at          string
		least, most int // calls in a minute, two minutes after the start
	}{
		"it is lost":              {at: lost, least: 4, most: 5},
		"it is a member again":    {back: true, at: lost},
		"it is back, and silent":  {member: &silent, at: lost},
		"it is back, and is not":  {member: &old, at: "10.77.0.99:7373", least: 55, most: 62},
		"and where it was before": {member: &old, at: lost, least: 55, most: 62},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := *state
				if c.back {
					s.Nodes = map[string]fsm.Node{"h1": s.Nodes["h1"], "h2": {Name: "h2", Power: fsm.Off}}
				}
				raw, err := fsm.EncodeSnapshot(7, &s)
				if err != nil {
					t.Fatal(err)
				}
				log := slog.New(slog.DiscardHandler)
				m := fsm.NewMachine(log)
				if err := m.Restore(io.NopCloser(bytes.NewReader(raw))); err != nil {
					t.Fatal(err)
				}
				self := cluster.Member{Name: "h1", Status: cluster.Alive, Meta: cluster.Meta{Cluster: mine}}
				g := &calledGossip{calls: make(map[string]int), members: []cluster.Member{self}}
				if c.member != nil {
					g.members = append(g.members, *c.member)
				}
				clock := &fakeClock{began: time.Now()}
				k := &touch{self: "h1", gossip: g, machine: m, disk: peersOnDisk{}, log: log, bell: newBell()}
				k.lineage = &lineage{machine: m, members: g.Members, clock: clock, ring: func() {}, log: log, others: k.addresses, doubt: newDoubt(clock, true, k.bell.ring)}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); k.run(ctx) }()
				time.Sleep(2*time.Minute + touchOften/2) // not in the moment of a call
				first := g.of(c.at)
				time.Sleep(time.Minute)
				if n := g.of(c.at) - first; n < c.least || n > c.most {
					t.Errorf("it was called %d times in a minute", n)
				}
				cancel()
				<-ended
			})
		})
	}
}

// keptPeers is a disk with remembered peers.
type keptPeers struct {
	Disk
	list []netip.AddrPort
}

func (d *keptPeers) LoadPeers() ([]netip.AddrPort, error) { return d.list, nil }
func (d *keptPeers) SavePeers(list []netip.AddrPort) error {
	d.list = list
	return nil
}

// A host that has become the only member goes on to remember where another one may be, and to call it before it holds something with the only vote:
// until it has seen that the log took that one away. A state that is older than its disk says nothing.
func TestWhoWasForgottenIsNotRemembered(t *testing.T) {
	h1, h2 := netip.MustParseAddrPort("10.77.0.11:7373"), netip.MustParseAddrPort("10.77.0.12:7373")
	mine, before, _, _, _, _ := family()
	state := func(others, lost bool) *fsm.State {
		s := fsm.Empty()
		s.Cluster.ID = mine
		s.Nodes["h1"] = fsm.Node{Name: "h1", Gossip: h1}
		if others {
			s.Nodes["h2"] = fsm.Node{Name: "h2", Gossip: h2}
		}
		r := fsm.Recovery{From: before, Lost: []string{"h2"}}
		if lost {
			r.LostAt = map[string]netip.AddrPort{"h2": h2}
		}
		s.Recoveries = []fsm.Recovery{r}
		return s
	}
	for name, c := range map[string]struct {
		states []*fsm.State
		kept   bool
	}{
		"nothing is applied yet":                  {nil, true},
		"a state from before it joined":           {[]*fsm.State{state(false, false)}, true},
		"it is a member":                          {[]*fsm.State{state(true, false)}, true},
		"it was a member":                         {[]*fsm.State{state(true, false), state(false, false)}, false},
		"it is lost":                              {[]*fsm.State{state(false, true)}, true},
		"it was lost, and is forgotten":           {[]*fsm.State{state(false, true), state(false, false)}, false},
		"it was a member when it was looked for":  {[]*fsm.State{state(true, true), state(false, true)}, true},
		"it was lost, came back, and has left":    {[]*fsm.State{state(false, true), state(true, true), state(false, false)}, false},
		"it was forgotten, and is a member again": {[]*fsm.State{state(false, true), state(false, false), state(true, false)}, true},
	} {
		disk := &keptPeers{list: []netip.AddrPort{h2}}
		log := slog.New(slog.DiscardHandler)
		k := &touch{self: "h1", gossip: &calledGossip{}, machine: fsm.NewMachine(log), disk: disk, log: log, bell: newBell()}
		k.lineage = &lineage{machine: k.machine, members: func() []cluster.Member { return nil }, clock: systemClock{}, log: log}
		k.setKnown(disk.list)
		k.remember()
		for i, s := range c.states {
			raw, err := fsm.EncodeSnapshot(uint64(7+i), s)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.machine.Restore(io.NopCloser(bytes.NewReader(raw))); err != nil {
				t.Fatal(err)
			}
			k.remember()
		}
		want := 0
		if c.kept {
			want = 1
		}
		if len(disk.list) != want || len(k.addresses()) != want {
			t.Errorf("%s: on disk there is %v, and it calls %v", name, disk.list, k.addresses())
		}
	}
}

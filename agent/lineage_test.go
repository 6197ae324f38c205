package agent

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/fsm"
)

func TestOtherClusters(t *testing.T) {
	const mine, before, longBefore, strange = "aa00000000000000", "bb00000000000000", "cc00000000000000", "dd00000000000000"
	recovered := &fsm.State{Cluster: fsm.Cluster{ID: mine}, Recoveries: []fsm.Recovery{
		{From: longBefore, At: time.Unix(0, 0)}, {From: before, At: time.Unix(3600, 0), By: "h1", Lost: []string{"h2", "h3"}},
	}}
	for name, c := range map[string]struct {
		state *fsm.State
		meta  cluster.Meta
		says  string // "" = it is one of ours
	}{
		"no cluster yet, here":  {&fsm.State{}, cluster.Meta{Cluster: strange}, ""},
		"no cluster yet, there": {recovered, cluster.Meta{}, ""},
		"the same":              {recovered, cluster.Meta{Cluster: mine}, ""},
		"a stranger's":          {recovered, cluster.Meta{Cluster: strange}, "another cluster that has the same name and secret"},
		"left behind":           {recovered, cluster.Meta{Cluster: before}, "h3 belongs to the cluster before the recovery of 1970-01-01 01:00:00 UTC (by h1), and has not let go of it yet: run `nightporter leave` there"},
		"left behind, silent":   {recovered, cluster.Meta{Cluster: longBefore, Silent: true}, "and holds nothing: run"},
		"this host is":          {&fsm.State{Cluster: fsm.Cluster{ID: before}}, cluster.Meta{Cluster: mine, Former: []string{before[:12], longBefore[:12]}}, "goes on from this host's own"},
	} {
		got := otherCluster(c.state, cluster.Member{Name: "h3", Meta: c.meta})
		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestWhoWasLostIsRefusedUntilGossipHasHeardOfIt(t *testing.T) {
	s := &fsm.State{Nodes: map[string]fsm.Node{"h1": {}, "h3": {}}, Recoveries: []fsm.Recovery{{Lost: []string{"h2", "h3"}}}}
	for node, refused := range map[string]bool{"h1": false, "h2": true, "h3": false, "h4": false} { // h3 was admitted again
		if got := unmet(s, node); (got != "") != refused {
			t.Errorf("%s: %q", node, got)
		}
	}
}

// family gives the IDs of clusters.
func family() (mine, before, after, brother, founded, foreign string) {
	id := func(digits string) string { return strings.Repeat(digits, 16) }
	return id("aa"), id("bb"), id("cc"), id("dd"), id("ee"), id("ff")
}

// The rules by which a host may begin to hold, stops to, and falls silent.
func TestLineage(t *testing.T) {
	mine, before, after, brother, founded, foreign := family()
	state := fsm.Empty()
	state.Cluster.ID, state.Recoveries = mine, []fsm.Recovery{{From: founded, Floor: 3 << 24}, {From: before, Floor: 7 << 24}}
	raw, err := fsm.EncodeSnapshot(7, state)
	if err != nil {
		t.Fatal(err)
	}
	member := func(status cluster.Status, m cluster.Meta) cluster.Member {
		return cluster.Member{Name: "h2", Status: status, Meta: m}
	}
	alive := func(m cluster.Meta) cluster.Member { return member(cluster.Alive, m) }
	for name, c := range map[string]struct {
		member cluster.Member
		silent bool   // this host falls silent
		waits  bool   // it holds nothing
		says   string // of why
	}{
		"alone":                       {},
		"one of ours":                 {member: alive(cluster.Meta{Cluster: mine, Former: []string{before[:12], founded[:12]}, Generation: 7})},
		"one that was left behind":    {member: alive(cluster.Meta{Cluster: before, Former: []string{founded[:12]}, Generation: 3}), waits: true},
		"long ago":                    {member: alive(cluster.Meta{Cluster: founded}), waits: true},
		"it is silent":                {member: alive(cluster.Meta{Cluster: before, Silent: true})},
		"it begins, and waits":        {member: alive(cluster.Meta{Cluster: before, Waits: true})},
		"it is off again":             {member: member(cluster.Failed, cluster.Meta{Cluster: before})},
		"one that left us behind":     {member: alive(cluster.Meta{Cluster: after, Former: []string{mine[:12], before[:12]}, Generation: 8}), silent: true, says: "before a recovery that left it behind"},
		"one that did and is off":     {member: member(cluster.Failed, cluster.Meta{Cluster: after, Former: []string{mine[:12]}})},
		"one that left others behind": {member: alive(cluster.Meta{Cluster: after, Former: []string{foreign[:12]}, Generation: 9})},
		"a stranger":                  {member: alive(cluster.Meta{Cluster: foreign})},
		"a brother of before":         {member: alive(cluster.Meta{Cluster: brother, Former: []string{before[:12], founded[:12]}, Generation: 6}), waits: true},
		"a later brother":             {member: alive(cluster.Meta{Cluster: brother, Former: []string{before[:12], founded[:12]}, Generation: 8}), silent: true, says: "yields to the later recovery"},
		"a brother of that minute":    {member: alive(cluster.Meta{Cluster: brother, Former: []string{before[:12]}, Generation: 7}), silent: true, says: "yields to the later recovery"},
		"an uncle":                    {member: alive(cluster.Meta{Cluster: brother, Former: []string{founded[:12]}, Generation: 5}), waits: true},
		"a nephew":                    {member: alive(cluster.Meta{Cluster: after, Former: []string{brother[:12], founded[:12]}, Generation: 9}), silent: true, says: "yields to the later recovery"},
		"a brother who is silent":     {member: alive(cluster.Meta{Cluster: brother, Former: []string{before[:12]}, Generation: 6, Silent: true})},
	} {
		t.Run(name, func(t *testing.T) {
			log := slog.New(slog.DiscardHandler)
			for _, already := range []bool{false, true} {
				var members []cluster.Member
				l := &lineage{
					machine: fsm.NewMachine(log), members: func() []cluster.Member { return members }, clock: systemClock{}, ring: func() {}, log: log,
					others: func() []string { return []string{"h2"} }, doubt: newDoubt(systemClock{}, false, func() {}),
				}
				if err := l.machine.Restore(io.NopCloser(bytes.NewReader(raw))); err != nil {
					t.Fatal(err)
				}
				if l.look().holds() {
					t.Fatal("it begins before anybody was called")
				}
				if already {
					l.answered(l.doubt.calls(), "h2")
					if !l.look().holds() {
						t.Fatal("alone it does not begin")
					}
				}
				members = []cluster.Member{c.member}
				l.answered(l.doubt.calls(), "h2")
				got := l.look()
				if got.holds() != (!c.waits && !c.silent) || l.isSilent() != c.silent || (l.waiting() != "") != c.waits || (l.sentence() != "") != c.silent || !strings.Contains(l.sentence(), c.says) {
					t.Errorf("%+v, silent %v: %q %q", got, l.isSilent(), l.waiting(), l.sentence())
				}
				if got.barred != (c.silent || c.waits && !already) {
					t.Errorf("%+v: what was begun is to be kept, and nothing else", got)
				}
				members = nil
				if got := l.look().holds(); got == c.silent {
					t.Errorf("and alone again: holds %v", got)
				}
			}
		})
	}
}

// Of any two clusters of one family both sides know which one yields, and of any number one goes on.
func TestOneOfAFamilyGoesOn(t *testing.T) {
	mine, before, after, brother, founded, foreign := family()
	type line struct {
		pedigree
		meta cluster.Meta
	}
	make := func(id string, generation uint64, former ...string) line {
		m := cluster.Meta{Cluster: id, Generation: generation}
		for _, f := range former {
			m.Former = append(m.Former, f[:12])
		}
		return line{pedigree{id, former, generation}, m}
	}
	all := []line{
		make(founded, 0), make(before, 3, founded), make(mine, 7, before, founded), make(brother, 7, before, founded),
		make(after, 8, mine, before, founded), make(foreign, 5, founded),
	}
	goesOn := 0
	for i, a := range all {
		yields := false
		for j, b := range all {
			one, other := a.kinOf(b.meta), b.kinOf(a.meta)
			if (i == j) != (one == stranger) || i != j && (one == above) == (other == above) {
				t.Errorf("%s and %s: %v and %v", a.id[:2], b.id[:2], one, other)
			}
			yields = yields || one == above
		}
		if !yields {
			goesOn++
		}
	}
	if goesOn != 1 {
		t.Errorf("%d go on", goesOn)
	}
}

// aloneWithItsVote is a host that has begun, in a cluster whose only voter it is.
func aloneWithItsVote(t *testing.T, others *[]string) *lineage {
	log := slog.New(slog.DiscardHandler)
	clock := &fakeClock{began: time.Now()}
	l := &lineage{
		self: "h1", machine: fsm.NewMachine(log), members: func() []cluster.Member { return nil }, clock: clock, ring: func() {}, log: log,
		others: func() []string { return *others }, doubt: newDoubt(clock, true, func() {}),
	}
	state := fsm.Empty()
	state.Cluster.ID, _, _, _, _, _ = family()
	raw, err := fsm.EncodeSnapshot(7, state)
	if err != nil {
		t.Fatal(err)
	}
	l.machine.NoteSnapshot(7, []raft.Server{{Suffrage: raft.Voter, ID: "h1"}})
	if err := l.machine.Restore(io.NopCloser(bytes.NewReader(raw))); err != nil {
		t.Fatal(err)
	}
	l.look() // it begins
	return l
}

// metaGossip is told of each description of this host.
type metaGossip struct {
	gossip
	told func(cluster.Meta)
}

func (g metaGossip) SetMeta(m cluster.Meta) error {
	g.told(m)
	return nil
}

// A host does not say that it waits while its tenants may open something. Here it loses its link just when it says that it does not wait any more, as
// all that it had called have answered: whoever finds that out takes his turn.
func TestNoHostWaitsAndHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		others := []string{"h2"}
		l := aloneWithItsVote(t, &others)
		l.tenants, l.meta, l.turn = &tenants{all: make(map[string]*tenant)}, newMetaKeeper(l.log), make(turn, 1)
		l.doubt.linked(false)
		l.wait()
		if !l.meta.meta.Waits || l.tenants.may.holds() {
			t.Fatalf("without a link it waits: %v, %+v", l.meta.meta.Waits, l.tenants.may)
		}
		l.doubt.linked(true)
		l.answered(l.doubt.calls(), "h2")
		var second sync.WaitGroup
		l.meta.gossip = metaGossip{told: func(m cluster.Meta) {
			if !m.Waits {
				l.doubt.linked(false)
				second.Go(l.wait)
				synctest.Wait() // until it has come as far as it can
			}
		}}
		l.take()
		second.Wait()
		if !l.meta.meta.Waits || l.tenants.may.holds() {
			t.Errorf("it says that it waits: %v, and its tenants may do: %+v", l.meta.meta.Waits, l.tenants.may)
		}
	})
}

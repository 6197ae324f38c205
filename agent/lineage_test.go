package agent

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

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

// The rules by which a host may begin to hold, and by which it falls silent.
func TestLineage(t *testing.T) {
	const mine, before, after = "aa000000000000000000000000000000", "bb000000000000000000000000000000", "cc000000000000000000000000000000"
	state := fsm.Empty()
	state.Cluster.ID, state.Recoveries = mine, []fsm.Recovery{{From: before}}
	raw, err := fsm.EncodeSnapshot(7, state)
	if err != nil {
		t.Fatal(err)
	}
	member := func(status cluster.Status, m cluster.Meta) cluster.Member {
		return cluster.Member{Name: "h2", Status: status, Meta: m}
	}
	for name, c := range map[string]struct {
		member  cluster.Member
		silent  bool // this host falls silent
		waits   bool // it does not begin
		already bool // it had begun before
	}{
		"alone":                       {},
		"one of ours":                 {member: member(cluster.Alive, cluster.Meta{Cluster: mine, Former: []string{before[:12]}})},
		"one that was left behind":    {member: member(cluster.Alive, cluster.Meta{Cluster: before}), waits: true},
		"it is silent":                {member: member(cluster.Alive, cluster.Meta{Cluster: before, Silent: true})},
		"it is off again":             {member: member(cluster.Failed, cluster.Meta{Cluster: before})},
		"it comes when all is well":   {member: member(cluster.Alive, cluster.Meta{Cluster: before}), already: true},
		"one that left us behind":     {member: member(cluster.Alive, cluster.Meta{Cluster: after, Former: []string{mine[:12], before[:12]}}), silent: true},
		"when we held":                {member: member(cluster.Alive, cluster.Meta{Cluster: after, Former: []string{mine[:12]}}), silent: true, already: true},
		"one that did and is off":     {member: member(cluster.Failed, cluster.Meta{Cluster: after, Former: []string{mine[:12]}})},
		"one that left others behind": {member: member(cluster.Alive, cluster.Meta{Cluster: after, Former: []string{"dd0000000000"}})},
	} {
		t.Run(name, func(t *testing.T) {
			log := slog.New(slog.DiscardHandler)
			var members []cluster.Member
			l := &lineage{machine: fsm.NewMachine(log), members: func() []cluster.Member { return members }, clock: systemClock{}, ring: func() {}, log: log}
			if err := l.machine.Restore(io.NopCloser(bytes.NewReader(raw))); err != nil {
				t.Fatal(err)
			}
			if l.mayHold() {
				t.Fatal("it begins before anybody was called")
			}
			if c.already {
				if l.hail(); !l.mayHold() {
					t.Fatal("alone it does not begin")
				}
			}
			members = []cluster.Member{c.member}
			l.hail()
			if got := l.mayHold(); got != (!c.waits && !c.silent) || l.isSilent() != c.silent || (l.waiting() != "") != c.waits || (l.sentence() != "") != c.silent {
				t.Errorf("holds %v, silent %v: %q %q", got, l.isSilent(), l.waiting(), l.sentence())
			}
			members = nil
			if got := l.mayHold(); got == c.silent {
				t.Errorf("and alone again: holds %v", got)
			}
		})
	}
}

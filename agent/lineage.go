package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
)

// Superseded is what a host keeps on disk when it has learnt that its cluster goes on without it: it was said to be gone for good in a
// recovery, and came back with the state of before.
type Superseded struct {
	Cluster string    `json:"cluster"` // the ID of the cluster that this host's state is of
	By      string    `json:"by"`      // the ID of the one that goes on
	Told    string    `json:"told"`    // the host that said so
	At      time.Time `json:"at"`
}

// lineage keeps apart what a recovery has separated (docs/recovery.md). The hosts that were left behind had a majority, and would have one
// again if they came back together: so they must not begin before they know of the recovery.
//
//   - An agent that starts asks for no lease before it has called every host that it knows of, for hailMost at the longest. (A life that
//     goes on from another one has never stopped.)
//   - A host that meets a member of a cluster that goes on from its own falls silent, for good: it lets go of everything, grants nothing,
//     proposes nothing and says so, until it has left.
//   - A recovered host that starts, and meets one that was left behind, holds nothing before that one has fallen silent.
type lineage struct {
	self    string
	machine *fsm.Machine
	members func() []cluster.Member
	disk    Disk
	clock   Clock
	tenants *tenants
	meta    *metaKeeper
	ring    func() // whoever gives the tenants their wishes looks again
	log     *slog.Logger

	// born is the ID of the cluster that this host's log was of when the agent started. What is committed of the log is known later, and
	// until then it must not pass for a host that belongs to no cluster: it would be admitted with its old log.
	born string

	silent atomic.Pointer[Superseded]
	hailed atomic.Bool
	begun  atomic.Bool // nothing kept this life from holding any more
	said   atomic.Pointer[string]
}

// hailMost is how long the first calls of an agent are waited for. A host on the same LAN answers within milliseconds; one that is off is
// found out after three seconds, and nobody is to wait for that.
const hailMost = time.Second

// load reads what this host knows of a recovery that left it behind.
func (l *lineage) load() error {
	s, err := l.disk.LoadSuperseded()
	if err != nil {
		return err
	}
	if s != nil {
		l.silent.Store(s)
		l.log.Error(l.sentence())
	}
	return nil
}

// isSilent says whether this host's cluster goes on without it.
func (l *lineage) isSilent() bool { return l != nil && l.silent.Load() != nil }

// sentence is what status says of that; "" = it is not so.
func (l *lineage) sentence() string {
	if !l.isSilent() {
		return ""
	}
	s := l.silent.Load()
	return fmt.Sprintf("this host belongs to the cluster before a recovery that left it behind (%s goes on from it, as %s has told): it holds nothing and decides nothing; "+
		"run `nightporter leave` here and start its agent again, and it joins as a new member", shortID(s.By), s.Told)
}

func shortID(id string) string { return "cluster " + id[:min(len(id), 8)] }

// hail is told that everybody was called.
func (l *lineage) hail() {
	if !l.hailed.Swap(true) {
		l.ring()
	}
}

// mayHold looks who is there, and says whether this host may ask for leases.
func (l *lineage) mayHold() bool {
	state := l.machine.View().State
	members := l.members()
	l.meet(state, members)
	switch {
	case l.isSilent() || !l.hailed.Load():
		return false
	case l.begun.Load():
		return true
	}
	if why := leftBehind(state, members); why != "" {
		l.waits(why)
		return false
	}
	l.waits("")
	l.begun.Store(true)
	return true
}

// waits remembers why this host does not begin yet.
func (l *lineage) waits(why string) {
	if old := l.said.Swap(&why); why != "" && (old == nil || *old != why) {
		l.log.Warn(why)
	}
}

// waiting is the sentence for status.
func (l *lineage) waiting() string {
	if s := l.said.Load(); s != nil {
		return *s
	}
	return ""
}

// leftBehind names a host that has the state of before a recovery of this cluster, and has not fallen silent yet; "" = there is none.
func leftBehind(state *fsm.State, members []cluster.Member) string {
	for _, m := range members {
		if _, was := state.Recovered(m.Meta.Cluster); was && m.Status == cluster.Alive && !m.Meta.Silent {
			return fmt.Sprintf("this host holds nothing yet: %s runs with the state of before the recovery, and has not let go of it; stop its agent if this does not end by itself", m.Name)
		}
	}
	return ""
}

// cluster is the ID of the cluster that this host belongs to, "" = none.
func (l *lineage) cluster(state *fsm.State) string {
	if l == nil {
		return state.Cluster.ID
	}
	return cmp.Or(state.Cluster.ID, l.born)
}

// meet finds out whether a member belongs to a cluster that goes on from this host's own.
func (l *lineage) meet(state *fsm.State, members []cluster.Member) {
	id := l.cluster(state)
	if id == "" || l.isSilent() {
		return
	}
	for _, m := range members {
		if m.Status == cluster.Alive && succeeds(m.Meta, id) {
			s := &Superseded{Cluster: id, By: m.Meta.Cluster, Told: m.Name, At: l.clock.Wall()}
			if l.silent.CompareAndSwap(nil, s) {
				l.log.Error(l.sentence())
			}
			return
		}
	}
}

// succeeds says whether a member's cluster goes on from the one with the ID.
func succeeds(m cluster.Meta, id string) bool {
	return m.Cluster != id && slices.ContainsFunc(m.Former, func(f string) bool { return f != "" && strings.HasPrefix(id, f) })
}

// former are the IDs that a cluster had, the newest first.
func former(state *fsm.State) (out []string) {
	for _, r := range slices.Backward(state.Recoveries) {
		out = append(out, r.From)
	}
	return out
}

// silenceLook is how often a host that falls silent looks whether it has let go, and whether its disk has taken that down.
const silenceLook = 50 * time.Millisecond

// run writes down that this host is silent, and tells the others once it has let go of everything.
func (l *lineage) run(ctx context.Context, members bell) {
	kept := l.isSilent()
	look := time.NewTicker(silenceLook)
	defer look.Stop()
	look.Stop()
	for {
		l.mayHold()
		if s := l.silent.Load(); s != nil {
			if !kept {
				err := l.disk.SaveSuperseded(*s)
				if kept = err == nil; !kept {
					l.log.Debug("that this host was left behind is not on disk yet", "err", err)
				}
			}
			quiet := l.tenants.quiet()
			if quiet {
				l.meta.setSilent()
			}
			if kept && quiet {
				<-ctx.Done()
				return
			}
			look.Reset(silenceLook)
		}
		select {
		case <-ctx.Done():
			return
		case <-members:
		case <-look.C:
		}
	}
}

// setSilent tells the others that this host has let go of what it had in the cluster before a recovery.
func (k *metaKeeper) setSilent() { k.change(func(m *cluster.Meta) { m.Silent = true }) }

// otherCluster is the sentence about a member that belongs to another cluster than this host's state, or "".
func otherCluster(state *fsm.State, m cluster.Member) string {
	id := state.Cluster.ID
	if id == "" || m.Meta.Cluster == "" || m.Meta.Cluster == id {
		return ""
	}
	if r, was := state.Recovered(m.Meta.Cluster); was {
		does := "has not let go of it yet"
		if m.Meta.Silent {
			does = "holds nothing"
		}
		return fmt.Sprintf("%s belongs to the cluster before the recovery of %s UTC (by %s), and %s: run `nightporter leave` there and start its agent again, and it joins as a new member",
			m.Name, r.At.UTC().Format(time.DateTime), r.By, does)
	}
	if succeeds(m.Meta, id) {
		return m.Name + " belongs to the cluster that goes on from this host's own after a recovery"
	}
	return m.Name + " belongs to another cluster that has the same name and secret: put away the data directory of the hosts that are wrong, so that they join again, or give the other cluster a secret of its own"
}

// unmet refuses a host that was lost in a recovery and has not been admitted since, until gossip has told which cluster it is of.
func unmet(state *fsm.State, node string) string {
	if _, member := state.Nodes[node]; member {
		return ""
	}
	for _, r := range state.Recoveries {
		if slices.Contains(r.Lost, node) {
			return fmt.Sprintf("%s was lost in the recovery of %s UTC, and gossip has not heard of it since", node, r.At.UTC().Format(time.DateTime))
		}
	}
	return ""
}

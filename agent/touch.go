package agent

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
)

// touch keeps this host in touch with the others: it joins gossip at start, remembers the peers on disk, and joins again
// whenever members of the cluster that should be awake are missing (gossip forgets those that were away for long).
type touch struct {
	self    string
	gossip  gossip
	machine *fsm.Machine
	disk    Disk
	seeds   []string // from the file
	log     *slog.Logger
	bell    bell

	lineage *lineage

	seen map[netip.AddrPort]bool // the addresses of members, and of hosts that are looked for, that this life has seen in the log

	mu    sync.Mutex
	known []netip.AddrPort // as remembered on disk

	greeting sync.WaitGroup
}

// Pauses between two attempts to find missing members.
const (
	touchFirst = 500 * time.Millisecond
	touchMost  = 15 * time.Second
	touchOften = time.Second // while a host that was away has not heard from everybody (doubt), or one is loose that was left behind
)

func (t *touch) run(ctx context.Context) {
	known, err := t.disk.LoadPeers()
	if err != nil {
		t.log.Warn("the remembered peers cannot be read; the configured ones must do", "err", err)
	}
	t.setKnown(known)
	defer t.greeting.Wait()
	pause := touchFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		forced := false // after a resume the others may have given this host up without its knowing
		select {
		case <-ctx.Done():
			return
		case <-t.bell:
			pause, forced = touchFirst, true
		case <-timer.C:
		}
		t.remember()
		often := t.lineage.seeks()
		if forced || often || t.missing() {
			t.greet()
			pause = min(2*pause, touchMost)
		} else {
			t.lineage.doubt.calls() // there is nobody to be called
			pause = touchMost
		}
		if often {
			pause = min(pause, touchOften)
		}
		timer.Reset(pause)
	}
}

// greet calls everybody at one time: who is off is found out after seconds, and keeps nobody else waiting.
func (t *touch) greet() {
	addrs, round := t.addresses(), t.lineage.doubt.calls()
	t.greeting.Go(func() {
		err := cluster.Greet(t.gossip.Join, addrs, func(addr string) { t.lineage.answered(round, addr) })
		if err != nil {
			t.log.Debug("not in touch with everybody", "err", err)
		}
	})
}

// missing says whether somebody should be looked for: a member that is awake on record but not alive in gossip, or
// anybody at all while this host is alone, or no member yet, and has somewhere to ask; or a host that was lost in a recovery, which may come
// back and not know of it. A host that waits to be admitted may be
// in touch with some of the others and not with the leader, who alone can admit it: rumours end before a partition does.
func (t *touch) missing() bool {
	alive := make(map[string]bool)
	for _, m := range t.gossip.Members() {
		alive[m.Name] = m.Status == cluster.Alive
	}
	state := t.machine.View().State
	for name, n := range state.Nodes {
		if !alive[name] && n.Power != fsm.Asleep && n.Power != fsm.Off {
			return true
		}
	}
	for name := range state.Missing() {
		if !alive[name] {
			return true
		}
	}
	_, member := state.Nodes[t.self]
	others := 0
	for name, ok := range alive {
		if ok && name != t.self {
			others++
		}
	}
	return (others == 0 || !member) && len(t.addresses()) > 0
}

// addresses are all the places where somebody may answer.
func (t *touch) addresses() []string {
	list := slices.Clone(t.seeds)
	t.mu.Lock()
	for _, p := range t.known {
		list = append(list, p.String())
	}
	t.mu.Unlock()
	state := t.machine.View().State
	for name, n := range state.Nodes {
		if name != t.self && n.Gossip.IsValid() {
			list = append(list, n.Gossip.String())
		}
	}
	own := state.Nodes[t.self].Gossip
	for _, at := range state.Missing() {
		if at != own {
			list = append(list, at.String())
		}
	}
	if m, is := t.lineage.loose(state, t.lineage.there()); is && m.Addr.IsValid() {
		list = append(list, m.Addr.String())
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// remember writes the members' addresses to disk when they changed. Where there is no other member, of those that are on disk all stay but whom the
// log has taken away before the eyes of this life: in a state that is not up to date yet, others may be missing who are members.
func (t *touch) remember() {
	var now []netip.AddrPort
	state := t.machine.View().State
	for name, n := range state.Nodes {
		if name != t.self && n.Gossip.IsValid() {
			now = append(now, n.Gossip)
		}
	}
	missing := slices.Collect(maps.Values(state.Missing()))
	if len(now) == 0 {
		t.mu.Lock()
		now = slices.DeleteFunc(slices.Clone(t.known), func(at netip.AddrPort) bool { return t.seen[at] && !slices.Contains(missing, at) })
		t.mu.Unlock()
	} else {
		t.see(now)
	}
	t.see(missing)
	slices.SortFunc(now, func(a, b netip.AddrPort) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
	})
	t.mu.Lock()
	same := slices.Equal(now, t.known)
	t.mu.Unlock()
	if same {
		return
	}
	if err := t.disk.SavePeers(now); err != nil {
		t.log.Warn("the peers cannot be remembered on disk", "err", err)
		return
	}
	t.setKnown(now)
}

// see notes what the log has.
func (t *touch) see(list []netip.AddrPort) {
	if t.seen == nil {
		t.seen = make(map[netip.AddrPort]bool)
	}
	for _, at := range list {
		t.seen[at] = true
	}
}

func (t *touch) setKnown(list []netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known = list
}

package agent

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
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

	hailed func() // everybody was called once, or was given time enough to answer

	known []netip.AddrPort // as remembered on disk
}

// Pauses between two attempts to find missing members.
const (
	touchFirst = 500 * time.Millisecond
	touchMost  = 15 * time.Second
)

func (t *touch) run(ctx context.Context) {
	known, err := t.disk.LoadPeers()
	if err != nil {
		t.log.Warn("the remembered peers cannot be read; the configured ones must do", "err", err)
	}
	t.known = known
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
		if forced || t.missing() {
			if err := t.greet(); err != nil {
				t.log.Debug("not in touch with everybody", "err", err)
			}
			pause = min(2*pause, touchMost)
		} else {
			pause = touchMost
		}
		t.hailed()
		timer.Reset(pause)
	}
}

// greet calls everybody at one time: who is off is found out after seconds, and keeps nobody else waiting.
func (t *touch) greet() error {
	done := make(chan error, 1)
	go func() { done <- cluster.Greet(t.gossip.Join, t.addresses()) }()
	late := time.NewTimer(hailMost)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		t.hailed()
		return <-done
	}
}

// missing says whether somebody should be looked for: a member that is awake on record but not alive in gossip, or
// anybody at all while this host is alone, or no member yet, and has somewhere to ask. A host that waits to be admitted may be
// in touch with some of the others and not with the leader, who alone can admit it: rumours end before a partition does.
func (t *touch) missing() bool {
	alive := make(map[string]bool)
	for _, m := range t.gossip.Members() {
		alive[m.Name] = m.Status == cluster.Alive
	}
	for name, n := range t.machine.View().State.Nodes {
		if !alive[name] && n.Power != fsm.Asleep && n.Power != fsm.Off {
			return true
		}
	}
	_, member := t.machine.View().State.Nodes[t.self]
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
	for _, p := range t.known {
		list = append(list, p.String())
	}
	for name, n := range t.machine.View().State.Nodes {
		if name != t.self && n.Gossip.IsValid() {
			list = append(list, n.Gossip.String())
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// remember writes the members' addresses to disk when they changed.
func (t *touch) remember() {
	var now []netip.AddrPort
	for name, n := range t.machine.View().State.Nodes {
		if name != t.self && n.Gossip.IsValid() {
			now = append(now, n.Gossip)
		}
	}
	slices.SortFunc(now, func(a, b netip.AddrPort) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
	})
	if len(now) == 0 || slices.Equal(now, t.known) {
		return
	}
	if err := t.disk.SavePeers(now); err != nil {
		t.log.Warn("the peers cannot be remembered on disk", "err", err)
		return
	}
	t.known = now
}

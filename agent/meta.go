package agent

import (
	"log/slog"

	"nightporter/cluster"
	"nightporter/fsm"
)

// metaKeeper owns what this host says of itself in gossip, and passes on only what changed.
type metaKeeper struct {
	log *slog.Logger

	mu     turn
	meta   cluster.Meta
	gossip gossip // nil until gossip runs
}

func newMetaKeeper(log *slog.Logger) *metaKeeper { return &metaKeeper{log: log, mu: make(turn, 1)} }

// turn is a lock that may be held over a wait: gossip waits for a moment in SetMeta. In virtual time (testing/synctest) a
// goroutine that waits for a mutex keeps the time from passing, so a mutex would be held for ever.
type turn chan struct{}

// Lock implements sync.Locker.
func (t turn) Lock() { t <- struct{}{} }

// Unlock implements sync.Locker.
func (t turn) Unlock() { <-t }

func (k *metaKeeper) change(f func(*cluster.Meta)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before, _ := k.meta.Encode()
	f(&k.meta)
	after, err := k.meta.Encode()
	if err != nil {
		k.log.Error("this host's description does not fit into gossip", "err", err)
		return
	}
	if string(before) == string(after) || k.gossip == nil {
		return
	}
	if err := k.gossip.SetMeta(k.meta); err != nil {
		k.log.Warn("telling the others about this host", "err", err)
	}
}

func (k *metaKeeper) setPower(p fsm.Power, sleeps uint64) {
	k.change(func(m *cluster.Meta) { m.Power, m.Sleeps = p, sleeps })
}

// setWake says where magic packets for this host go.
func (k *metaKeeper) setWake(macs []fsm.MAC) { k.change(func(m *cluster.Meta) { m.Wake = macs }) }

// setCluster says which cluster this host belongs to, and which ones that goes on from.
func (k *metaKeeper) setCluster(p pedigree) {
	k.change(func(m *cluster.Meta) { m.Cluster, m.Former, m.Generation = p.id, p.former, p.generation })
}

func (k *metaKeeper) setPromise(to string) { k.change(func(m *cluster.Meta) { m.Promised = to }) }

// setUnfit says why this host could not hold an identity. That it stops outweighs everything.
func (k *metaKeeper) setUnfit(why string) {
	k.change(func(m *cluster.Meta) {
		if m.Unfit == cluster.Stopping || m.Unfit == why {
			return
		}
		switch why {
		case "":
			k.log.Info("this host can hold services again")
		case cluster.Stopping:
		default:
			k.log.Error("this host holds nothing until that is repaired: " + why)
		}
		m.Unfit = why
	})
}

// goOn takes back that this host stops.
func (k *metaKeeper) goOn() { k.change(func(m *cluster.Meta) { m.Unfit = "" }) }

// attach begins to pass changes on, and passes on what changed since gossip was given its first description.
func (k *metaKeeper) attach(g gossip) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gossip = g
	if err := g.SetMeta(k.meta); err != nil {
		k.log.Warn("telling the others about this host", "err", err)
	}
}

// now gives a copy.
func (k *metaKeeper) now() cluster.Meta {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.meta
}

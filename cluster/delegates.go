package cluster

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/hashicorp/memberlist"
)

// The five faces that memberlist wants; each is called on its receive path and must not block, nor call back into it.
type (
	delegate Gossip
	events   Gossip
	alive    Gossip
	conflict Gossip
	merge    Gossip
)

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta
}

// NotifyMsg implements memberlist.Delegate. Decoding copies, so the buffer may be used again.
func (d *delegate) NotifyMsg(b []byte) {
	m, err := DecodeMessage(b)
	if err != nil {
		d.log.Debug("a message was not understood", "err", err)
		return
	}
	d.mu.Lock()
	ready := d.list != nil
	d.mu.Unlock()
	if ready {
		d.conf.OnMessage(m)
	}
}

// GetBroadcasts implements memberlist.Delegate; nothing is spread by rumour.
func (*delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (*delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (*delegate) MergeRemoteState([]byte, bool) {}

// NotifyJoin implements memberlist.EventDelegate.
func (e *events) NotifyJoin(n *memberlist.Node) { (*Gossip)(e).set(n, Alive) }

// NotifyUpdate implements memberlist.EventDelegate.
func (e *events) NotifyUpdate(n *memberlist.Node) { (*Gossip)(e).set(n, Alive) }

// NotifyLeave implements memberlist.EventDelegate. memberlist does not say whether the node told its end itself; an agent
// that stops says so in its description first.
func (e *events) NotifyLeave(n *memberlist.Node) {
	s := Failed
	if m, err := DecodeMeta(n.Meta); err == nil && m.Unfit == Stopping {
		s = Left
	}
	(*Gossip)(e).set(n, s)
}

// NotifyAlive implements memberlist.AliveDelegate: strangers are kept out.
func (a *alive) NotifyAlive(n *memberlist.Node) error {
	if n.Name == a.conf.Node {
		return nil
	}
	if err := (*Gossip)(a).admit(n); err != nil {
		return err
	}
	return (*Gossip)(a).unmask(n)
}

// errImpostor is what memberlist is told of a host that is not the one that it says it is. It hears of it with each message.
var errImpostor = errors.New("it is an impostor")

// unmask keeps out who uses the name of another one: it would be called and answered in its place. That is asked of each host for itself: a
// whole merge is not refused for it, since who passes the news on may know of a change that this host has not heard of.
func (g *Gossip) unmask(n *memberlist.Node) error {
	meta, err := DecodeMeta(n.Meta)
	if err != nil || g.conf.Impostor == nil {
		return err
	}
	addr, _ := netip.AddrFromSlice(n.Addr)
	if g.conf.Impostor(n.Name, netip.AddrPortFrom(addr.Unmap(), n.Port), meta) == "" {
		return nil
	}
	return errImpostor
}

// admit is acceptable with a word in the log.
func (g *Gossip) admit(n *memberlist.Node) error {
	err := g.acceptable(n)
	if err != nil && !g.again(err.Error()) {
		g.log.Warn("a host is kept out of the cluster", "err", err)
	}
	return err
}

// NotifyMerge implements memberlist.MergeDelegate: a join with strangers is refused with the reason.
func (m *merge) NotifyMerge(peers []*memberlist.Node) error {
	for _, n := range peers {
		if err := (*Gossip)(m).admit(n); err != nil {
			return err
		}
	}
	return nil
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (c *conflict) NotifyConflict(existing, other *memberlist.Node) {
	was, err1 := DecodeMeta(existing.Meta)
	is, err2 := DecodeMeta(other.Meta)
	if err1 == nil && err2 == nil && was.Pin == is.Pin {
		return // the same host under a new address: memberlist takes it over after a while
	}
	sentence := fmt.Sprintf("two hosts call themselves %s: %s and %s; give one of them another name (--node, or its hostname)", existing.Name, existing.Address(), other.Address())
	if !(*Gossip)(c).again(sentence) {
		c.conf.OnConflict(sentence)
	}
}

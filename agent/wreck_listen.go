package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/wake"
)

// Sign is a sign of life of another host.
type Sign struct {
	Node  string // as far as it is known
	Where string // its address
	What  string // a sentence
	Do    string // what to do about it, where that is not to start it; "" = nothing special
	Agent bool   // an agent of the cluster runs there; otherwise only the machine answers
}

// callAgain is the pause between two rounds of calls.
const callAgain = time.Second

// Heard is what came of listening.
type Heard struct {
	Signs []Sign
	Notes []string // what was not done as it should be, for a person to know before the last word
}

// Listen calls all other members for the time given, by magic packets, gossip and at their peer port, and listens for their gossip. It
// ends early with the first agent that answers. Silence counts only if the interface works to the end; deaf = a person knows that there is nobody to be heard.
func (w *Wreck) Listen(ctx context.Context, d time.Duration, deaf bool) (h Heard, err error) {
	before, err := listensAt(w.cfg.Interface)
	if err == nil {
		err = before.linked(w.cfg.Interface)
	}
	if err != nil {
		return h, err
	}
	c, err := w.gossip()
	if err != nil {
		return h, err
	}
	addrs, err := w.addresses()
	if err != nil {
		h.Notes = append(h.Notes, fmt.Sprintf("the remembered peers cannot be read, so only those of the state were called: %v", err))
	}
	caller, err := wake.NewCaller(w.cfg.Interface)
	if err != nil {
		h.Notes = append(h.Notes, fmt.Sprintf("no magic packets could be sent, so a host that sleeps was not found out: %v", err))
	} else {
		defer caller.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	every := time.NewTicker(callAgain)
	defer every.Stop()
	rounds := make(chan struct{})
	knocked := make(chan map[string]Sign, 1)
	go func() { knocked <- w.knock(ctx, caller, every.C, rounds) }()
	members, err := cluster.Hark(ctx, c, addrs, rounds)
	cancel()
	found := <-knocked
	for _, m := range members {
		_, member := w.remains.State.Nodes[m.Name]
		found[m.Name] = signOf(m, member) // it says more than its port
	}
	if err != nil {
		return h, err
	}
	h.Signs = slices.SortedFunc(maps.Values(found), func(a, b Sign) int { return strings.Compare(a.Node, b.Node) })
	if len(h.Signs) > 0 {
		return h, nil
	}
	after, err := listensAt(w.cfg.Interface)
	if err != nil {
		return h, err
	}
	return h, before.heard(after, w.cfg.Interface, deaf)
}

// signOf is what an agent in gossip says of itself. A host that counts for nothing is to be out of the way; a member's machine is then found out by its port as well.
func signOf(m cluster.Member, member bool) Sign {
	s := Sign{Node: m.Name, Where: m.Addr.String(), What: "its agent speaks in gossip", Agent: true}
	switch {
	case m.Meta.Cluster == "":
		s.What = "its agent runs, was installed anew and waits for a cluster"
	case m.Meta.Silent:
		s.What = "its agent runs, was left behind by an earlier recovery and holds nothing"
	default:
		return s
	}
	s.Do = "`systemctl stop nightporter` there until this is done"
	if member {
		s.Do += ", and name it by --reinstalled"
	}
	return s
}

// gossip is this host in gossip while it listens: one that can hold nothing.
func (w *Wreck) gossip() (cluster.GossipConfig, error) {
	keys, err := loadKeys(w.cfg)
	if err != nil {
		return cluster.GossipConfig{}, err
	}
	id, err := w.disk.Identity(keys, w.cfg.Node)
	if err != nil {
		return cluster.GossipConfig{}, err
	}
	s := w.remains.State
	at := gossipAddr(w.cfg)
	return cluster.GossipConfig{
		Node: w.cfg.Node, Cluster: w.cfg.Cluster, Bind: at, Advertise: at, Key: keys.Gossip, Also: keys.GossipAlso(), Timing: cluster.Derive(s.Timing.Failover), Log: w.log,
		Meta: cluster.Meta{
			Cluster: s.Cluster.ID, Name: w.cfg.Cluster, Power: fsm.Awake, Version: "recover", Pin: id.Pin(), Protocol: Protocol,
			Policy: s.Nodes[w.cfg.Node].Policy, Role: s.Nodes[w.cfg.Node].Role, Format: fsm.Format, Unfit: "recovering",
		},
	}, nil
}

// addresses are where gossip of the others may be. With an error they are only those of the configuration and the state.
func (w *Wreck) addresses() ([]string, error) {
	list := slices.Clone(w.cfg.Join)
	known, err := w.disk.LoadPeers()
	for _, p := range known {
		list = append(list, p.String())
	}
	for name, n := range w.remains.State.Nodes {
		if name != w.cfg.Node && n.Gossip.IsValid() {
			list = append(list, n.Gossip.String())
		}
	}
	slices.Sort(list)
	return slices.Compact(list), err
}

// knock sends magic packets to all others and tries their peer ports, once in a round, until ctx ends. It returns who answered there. The first round
// goes to its end (half a callAgain), whatever ends ctx.
func (w *Wreck) knock(ctx context.Context, caller *wake.Caller, every <-chan time.Time, rounds chan<- struct{}) map[string]Sign {
	found := make(map[string]Sign)
	for round := context.WithoutCancel(ctx); ; round = ctx {
		w.knockAll(round, caller, found)
		select {
		case <-ctx.Done():
			return found
		case <-every:
		}
		select {
		case rounds <- struct{}{}:
		default: // it still greets
		}
	}
}

// knockAll is one round: all at one time, so that dead hosts keep no other waiting.
func (w *Wreck) knockAll(ctx context.Context, caller *wake.Caller, found map[string]Sign) {
	type answer struct {
		Sign
		ok bool
	}
	answers := make(chan answer)
	asked := 0
	for name, n := range w.remains.State.Nodes {
		if name == w.cfg.Node {
			continue
		}
		var macs []net.HardwareAddr
		for _, m := range n.Wake {
			macs = append(macs, m.Hardware())
		}
		if caller != nil && len(macs) > 0 {
			if err := caller.Call(macs, []byte(w.remains.State.Fitness[name].Report.Password)); err != nil {
				w.log.Debug("a magic packet was not sent", "node", name, "err", err)
			}
		}
		asked++
		go func() {
			s, ok := knockAt(ctx, name, n.Addr)
			answers <- answer{s, ok}
		}()
	}
	for range asked {
		if a := <-answers; a.ok {
			found[a.Node] = a.Sign
		}
	}
}

// knockAt tries a peer port.
func knockAt(ctx context.Context, node string, at netip.AddrPort) (Sign, bool) {
	if !at.IsValid() {
		return Sign{}, false
	}
	d := net.Dialer{Timeout: callAgain / 2}
	conn, err := d.DialContext(ctx, "tcp", at.String())
	switch {
	case err == nil:
		conn.Close()
		return Sign{Node: node, Where: at.String(), What: "somebody listens at its peer port", Agent: true}, true
	case errors.Is(err, syscall.ECONNREFUSED):
		return Sign{Node: node, Where: at.String(), What: "a machine answers there, and no agent runs on it"}, true
	}
	return Sign{}, false
}

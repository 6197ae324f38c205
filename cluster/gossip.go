package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Status is what gossip thinks of a member.
type Status string

// The states of a member. memberlist forgets who failed or left; the agent must not.
const (
	Alive  Status = "alive"
	Failed Status = "failed"
	Left   Status = "left"
)

// Member is one host as gossip has it.
type Member struct {
	Name    string
	Addr    netip.AddrPort // of its gossip
	Status  Status
	Meta    Meta
	Changed time.Time // when Status last changed
}

// GossipConfig is what gossip needs.
type GossipConfig struct {
	Node, Cluster   string
	Bind, Advertise netip.AddrPort
	Key             []byte   // 32 bytes; never empty: memberlist would speak in the clear
	Also            [][]byte // further keys that are accepted
	Timing          Timing
	Meta            Meta
	Transport       memberlist.Transport // nil = UDP and TCP on Bind
	Log             *slog.Logger
	OnChange        func()                    // members or their Meta changed; must not block
	OnMessage       func(Message)             // on gossip's receive path; must not block
	OnConflict      func(sentence string)     // two hosts use one name
	OnUnread        func(from netip.Addr)     // a message was of another secret or another cluster's name; told once in ComplainEvery; may be nil
	OnWord          func(node string, m Meta) // a node's own word, at first hand; must not block; nil = nobody wants it
	// Impostor says why the host that speaks is not the node of that name, "" = nothing is known against it; must not block. nil = nobody is one.
	Impostor func(node string, at netip.AddrPort, m Meta) string
}

// Gossip is memberlist with a memory.
type Gossip struct {
	list *memberlist.Memberlist
	conf GossipConfig
	log  *slog.Logger

	mu      sync.Mutex
	members map[string]Member
	meta    []byte
	refused often
}

// ComplainEvery is how often the same trouble may be reported: a host with another secret sends several packets a second.
const ComplainEvery = 30 * time.Second

// StartGossip begins to listen. It joins nobody yet.
func StartGossip(c GossipConfig) (*Gossip, error) {
	if len(c.Key) != 32 {
		return nil, fmt.Errorf("gossip needs a key of 32 bytes, it was given %d", len(c.Key))
	}
	meta, err := c.Meta.Encode()
	if err != nil {
		return nil, err
	}
	g := &Gossip{conf: c, log: c.Log, members: make(map[string]Member), meta: meta, refused: often{every: ComplainEvery}}
	conf := g.config()
	if conf.Keyring, err = memberlist.NewKeyring(append([][]byte{c.Key}, c.Also...), c.Key); err != nil {
		return nil, fmt.Errorf("making the ring of gossip's keys: %w", err)
	}
	var own *packets
	if conf.Transport == nil {
		if own, err = listenPackets(c.Bind, c.Log); err != nil {
			return nil, fmt.Errorf("opening gossip on %s (UDP and TCP; is another agent running, or gossip_port taken?): %w", c.Bind, err)
		}
		conf.Transport = own
	}
	list, err := memberlist.Create(conf)
	if err != nil {
		if own != nil {
			err = errors.Join(err, own.Shutdown())
		}
		return nil, fmt.Errorf("opening gossip on %s (UDP and TCP; is another agent running, or gossip_port taken?): %w", c.Bind, err)
	}
	g.mu.Lock()
	g.list = list
	g.mu.Unlock()
	return g, nil
}

func (g *Gossip) config() *memberlist.Config {
	c, t := g.conf, g.conf.Timing
	m := memberlist.DefaultLANConfig()
	m.Name, m.Transport = c.Node, c.Transport
	m.BindAddr, m.BindPort = c.Bind.Addr().String(), int(c.Bind.Port())
	m.AdvertiseAddr, m.AdvertisePort = c.Advertise.Addr().String(), int(c.Advertise.Port())
	m.ProbeInterval, m.ProbeTimeout, m.SuspicionMult = t.ProbeInterval, t.ProbeTimeout, t.SuspicionMult
	m.GossipInterval = t.GossipInterval
	m.TCPTimeout = 3 * time.Second
	m.DeadNodeReclaimTime = 5 * time.Second // a host may come back under another address
	m.EnableCompression = false             // messages are small and hurried
	m.Delegate, m.Events, m.Alive, m.Conflict, m.Merge = (*delegate)(g), (*events)(g), (*alive)(g), (*conflict)(g), (*merge)(g)
	m.Logger = standard(bridge("gossip", c.Log, g.noise))
	return m
}

// Members gives everybody that was ever met, by name, this host included.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Member, 0, len(g.members))
	for _, name := range slices.Sorted(maps.Keys(g.members)) {
		out = append(out, g.members[name])
	}
	return out
}

// Member gives one of them.
func (g *Gossip) Member(name string) (Member, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.members[name]
	return m, ok
}

// Send sends one datagram to a node at the last address known, whatever gossip thinks of it: a node that is believed
// dead may hold a lease that it must be able to give back.
func (g *Gossip) Send(node string, m Message) error {
	to, ok := g.Member(node)
	if !ok {
		return fmt.Errorf("the address of %s is not known", node)
	}
	b, err := EncodeMessage(m)
	if err != nil {
		return err
	}
	dest := &memberlist.Node{Name: node, Addr: to.Addr.Addr().AsSlice(), Port: to.Addr.Port(), PMax: memberlist.ProtocolVersionMax}
	if err := g.list.SendBestEffort(dest, b); err != nil {
		return fmt.Errorf("sending to %s at %s: %w", node, to.Addr, err)
	}
	return nil
}

// metaWait is how long SetMeta waits for its rumour to be under way: memberlist wants to, its callers do not.
const metaWait = time.Nanosecond

// Score is memberlist's judgement of this node's own health: 0 is best, and it asks more patiently the higher it is.
func (g *Gossip) Score() int { return g.list.GetHealthScore() }

// SetMeta changes what this node says of itself.
func (g *Gossip) SetMeta(m Meta) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.meta = b
	own := g.members[g.conf.Node]
	own.Meta = m
	g.members[g.conf.Node] = own
	g.mu.Unlock()
	// An error only says that the rumour is still on its way: memberlist waits until it was sent several times.
	_ = g.list.UpdateNode(metaWait)
	return nil
}

// Join meets other agents. It returns how many addresses answered; the error says why the others did not.
func (g *Gossip) Join(addrs []string) (int, error) {
	n, err := g.list.Join(addrs)
	if err == nil {
		return n, nil
	}
	var why []string // memberlist lists its reasons over several lines, and logs them as details only
	for line := range strings.Lines(err.Error()) {
		one, found := strings.CutPrefix(strings.TrimSpace(line), "* ")
		if found {
			why = append(why, one)
		}
		if found && strings.Contains(one, "decrypt") {
			g.noise(slog.LevelWarn, one, nil)
		}
	}
	err = fmt.Errorf("joining %s: %s", strings.Join(addrs, ", "), strings.Join(why, "; "))
	if strings.Contains(err.Error(), "decrypt") {
		err = fmt.Errorf("%w: do the hosts there have the same secret file and cluster name?", err)
	}
	return n, err
}

// Leave tells the others that this agent stops.
func (g *Gossip) Leave(timeout time.Duration) error { return g.list.Leave(timeout) }

// Shutdown ends gossip without a word.
func (g *Gossip) Shutdown() error { return g.list.Shutdown() }

// set takes news of one node over.
func (g *Gossip) set(n *memberlist.Node, s Status) {
	meta, err := DecodeMeta(n.Meta)
	if err != nil {
		return // refused by the alive delegate already; a leave message may carry none
	}
	addr, _ := netip.AddrFromSlice(n.Addr)
	m := Member{Name: n.Name, Addr: netip.AddrPortFrom(addr.Unmap(), n.Port), Status: s, Meta: meta, Changed: time.Now()}
	g.mu.Lock()
	if old, known := g.members[n.Name]; known && old.Status == s {
		m.Changed = old.Changed
	}
	g.members[n.Name] = m
	g.mu.Unlock()
	g.conf.OnChange()
}

// acceptable says why a node must stay outside, or nil.
func (g *Gossip) acceptable(n *memberlist.Node) error {
	meta, err := DecodeMeta(n.Meta)
	switch {
	case err != nil:
		return fmt.Errorf("%s at %s is no agent of this version: %w", n.Name, n.Address(), err)
	case meta.Name != g.conf.Cluster:
		return fmt.Errorf("%s at %s belongs to the cluster %q, this host to %q", n.Name, n.Address(), meta.Name, g.conf.Cluster)
	case meta.Protocol != g.conf.Meta.Protocol:
		return fmt.Errorf("%s at %s speaks protocol %d (version %s), this host %d: upgrade the older one", n.Name, n.Address(), meta.Protocol, meta.Version, g.conf.Meta.Protocol)
	}
	return nil
}

// noise keeps memberlist's lines readable: a wrong secret becomes one sentence with the address, not one for each packet;
// what acceptable said is not said again; the rest is a detail below warnings.
func (g *Gossip) noise(level slog.Level, msg string, _ []any) bool {
	switch {
	case strings.Contains(msg, "ecrypt"):
		from := sender(msg)
		if !g.again("decrypt " + from) {
			g.log.Warn(fmt.Sprintf("a message from %s could not be decrypted: does that host have the same secret file and cluster name?", from), "detail", msg)
			if at, err := netip.ParseAddr(from); err == nil && g.conf.OnUnread != nil {
				g.conf.OnUnread(at.Unmap())
			}
		}
		return true
	case strings.Contains(msg, "Refuting an alive message"): // it would print two descriptions, byte by byte
		g.log.Debug("gossip carried an older description of this host: refuted", "part", "gossip")
		return true
	case strings.Contains(msg, "ignoring alive message"), strings.Contains(msg, "Conflicting address for"), strings.Contains(msg, "push/pull merge"):
		return true
	case level >= slog.LevelWarn:
		return g.again(alike(msg))
	}
	return !g.log.Enabled(context.Background(), slog.LevelDebug)
}

// alike takes the digits out of a line: lines that differ in ports and counts only are the same.
func alike(msg string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, msg)
}

// again says whether something was reported lately.
func (g *Gossip) again(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused.again(key)
}

// sender is the address in a line of memberlist, without the port.
func sender(msg string) string {
	_, from, ok := strings.Cut(msg, "from=")
	if !ok {
		if _, from, ok = strings.Cut(msg, "failed to join "); !ok {
			return "an unknown address"
		}
	}
	from, _, _ = strings.Cut(from, " ")
	from = strings.TrimSuffix(from, ":")
	if host, _, err := net.SplitHostPort(from); err == nil {
		return host
	}
	return from
}

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// pins judges whether a host is the node that it says it is: by the key in the node's record. A machine that died for good is forgotten and
// another one takes its name, and a host that slept through that has the old record: when it wakes, and the new machine leads, the log could
// never tell it. So a host that meets a key which is not on record asks the others what they have. Who is asked is a member, whose own key is
// on record, and it is believed only if it has more of the log than this host.
type pins struct {
	self    string
	clock   Clock
	machine *fsm.Machine
	members func() []cluster.Member
	peer    func(node string) *api.Client
	log     *slog.Logger
	bell    bell

	mu    sync.Mutex
	sworn map[string]sworn    // by node
	seen  map[shown]pretender // who showed another key lately
	spots map[string]spot     // by node: what the log was told last
}

// shown is a key that was shown for a node. While a node is replaced, two of them that are not on record are about: the new machine's own, and
// the old one's, in the tales of hosts that slept through it. What is known of one says nothing about the other.
type shown struct{ node, key string }

// sworn is another member's word of a key. It counts as long as this host has the record that it was in doubt about.
type sworn struct{ key, instead string }

// pretender is a host that uses a node's name and shows another key.
type pretender struct {
	heard lease.Boot // when anybody last spoke of it
	at    lease.Boot // when it last showed the key itself; 0 = never
	asked lease.Boot // when the others were asked last; 0 = never
}

// spot is where somebody used a node's name, and when the log was told of it.
type spot struct {
	place netip.AddrPort
	at    lease.Boot
}

const (
	doubtAgain = 5 * time.Second // the least time between two questions about one node
	doubtMost  = 2 * time.Second // for one answer
)

// is says whether a key is the one of a node, as far as this host knows.
func (p *pins) is(n fsm.Node, key string) bool {
	if n.Key == key || n.Key == "" || key == "" { // a member of gossip that left may come without a description
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sworn[n.Name] == sworn{key, n.Key}
}

// impostor says why a host that shows a key is not the node of that name, "" = nothing is known against it.
func (p *pins) impostor(node, key string) string {
	n, known := p.machine.View().State.Nodes[node]
	if !known {
		for _, m := range p.members() {
			if m.Name == node && m.Meta.Pin != "" && m.Meta.Pin != key {
				return node + " shows another key than the host of that name that this one met first"
			}
		}
		return ""
	}
	if p.is(n, key) {
		return ""
	}
	p.doubt(node, key, true)
	return impostorSays(node) + "; if it was installed anew, run `nightporter forget " + node + "`"
}

// sighted writes into the log where somebody uses the name of a node, once in a while.
func (p *pins) sighted(node string, at netip.AddrPort) {
	now := p.clock.Boot()
	p.mu.Lock()
	last, before := p.spots[node]
	again := before && last.place == at && now.Sub(last.at) < conflictLasts
	if !again {
		p.spots[node] = spot{at, now}
	}
	p.mu.Unlock()
	if !again {
		p.log.Error(impostorSays(node)+": it is kept out", "at", at)
	}
}

// hearsay takes in what gossip says of a node in its own place. That may be an old tale: who has slept through its replacement tells it when it
// wakes. So the others are asked, and a complaint is made only of one whom gossip has there.
func (p *pins) hearsay(node, key string) {
	if n, known := p.machine.View().State.Nodes[node]; known && !p.is(n, key) {
		p.doubt(node, key, false)
	}
}

// doubt remembers who showed another key, and has the others asked.
func (p *pins) doubt(node, key string, itself bool) {
	now := p.clock.Boot()
	p.mu.Lock()
	s := p.seen[shown{node, key}]
	s.heard = now
	if itself {
		s.at = now
	}
	p.seen[shown{node, key}] = s
	p.mu.Unlock()
	p.bell.ring()
}

// among says whether gossip has the node with this key.
func (w shown) among(met []cluster.Member) bool {
	return slices.ContainsFunc(met, func(m cluster.Member) bool {
		return m.Name == w.node && m.Status == cluster.Alive && m.Meta.Pin == w.key
	})
}

func impostorSays(node string) string {
	return "a host that calls itself " + node + " shows another key than the one on record"
}

// run asks the others whenever somebody shows another key.
func (p *pins) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.bell:
		}
		for _, node := range p.doubted() {
			p.ask(ctx, node)
		}
	}
}

// doubted gives the nodes about which the others are to be asked now, and drops what nobody has spoken of for a while.
func (p *pins) doubted() (out []string) {
	met := p.members()
	now := p.clock.Boot()
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.seen, func(w shown, s pretender) bool { return now.Sub(s.heard) >= conflictLasts && !w.among(met) })
	for w, s := range p.seen {
		if s.asked == 0 || now.Sub(s.asked) >= doubtAgain {
			s.asked = now
			p.seen[w] = s
			out = append(out, w.node)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ask looks for a member that knows a newer record of a node.
func (p *pins) ask(ctx context.Context, node string) {
	v := p.machine.View()
	mine, known := v.State.Nodes[node]
	if !known {
		return
	}
	for _, m := range p.members() {
		other, member := v.State.Nodes[m.Name]
		if m.Name == p.self || m.Name == node || m.Status != cluster.Alive || !member || !p.is(other, m.Meta.Pin) {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, doubtMost)
		st, err := p.peer(m.Name).Status(asking)
		cancel()
		if err != nil || st.Cluster.ID != v.State.Cluster.ID || st.Known.Index <= v.Index {
			continue
		}
		for _, n := range st.Nodes {
			if n.Name == node && n.Key != "" && n.Key != mine.Key {
				p.log.Info("another machine has the name of a node since this host last heard of it", "node", node, "says", m.Name)
				p.mu.Lock()
				p.sworn[node] = sworn{n.Key, mine.Key}
				p.mu.Unlock()
				return
			}
		}
	}
}

// problems are the hosts that showed another key lately.
func (p *pins) problems(state *fsm.State) (out troubles) {
	met := p.members()
	now := p.clock.Boot()
	p.mu.Lock()
	seen := maps.Clone(p.seen)
	p.mu.Unlock()
	var who []string
	for w, s := range seen {
		lately := s.at != 0 && now.Sub(s.at) < conflictLasts
		if (lately || w.among(met)) && !p.is(state.Nodes[w.node], w.key) {
			who = append(who, w.node)
		}
	}
	slices.Sort(who)
	for _, node := range slices.Compact(who) {
		out.tell(fmt.Sprintf("if it is a new machine in the place of %s: `nightporter forget %s`, and it joins by itself; if it is the old one: stop its agent, and put its data directory away before it joins under another name", node, node),
			impostorSays(node))
	}
	return out
}

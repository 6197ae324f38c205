package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// Superseded is what a host keeps on disk when it has learnt that its cluster goes on without it: it was said to be gone for good in a
// recovery, and came back with the state of before.
type Superseded struct {
	Cluster string    `json:"cluster"` // the ID of the cluster that this host's state is of
	By      string    `json:"by"`      // the ID of the one that goes on
	Told    string    `json:"told"`    // the host that said so
	At      time.Time `json:"at"`
	Brother bool      `json:"brother,omitempty"` // both were recovered from the same one, and the other later
}

// lineage keeps apart what a recovery has separated (docs/recovery.md). The hosts that were left behind had a majority, and would have one
// again if they came back together: so they must not begin before they know of the recovery.
//
//   - A host that was away, and an agent that starts, holds nothing before it has called the others (doubt). A life that goes on from another
//     one has never stopped.
//   - A host that meets a member of a cluster that is above its own (pedigree) falls silent, for good: it lets go of everything, grants nothing,
//     proposes nothing and says so, until it has left.
//   - A host that meets one that is below holds nothing before that one has fallen silent, or as long as that one says that it waits itself.
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
	doubt   *doubt
	others  func() []string // where the others may be

	// born is the ID of the cluster that this host's log was of when the agent started. What is committed of the log is known later, and
	// until then it must not pass for a host that belongs to no cluster: it would be admitted with its old log.
	born string

	turn turn // held from a look at what this host may do until the tenants and the others know: take and wait do not overtake each other

	mu    sync.Mutex
	words map[string]saying // what others said of themselves at first hand, by name

	silent atomic.Pointer[Superseded]
	begun  atomic.Bool // something has allowed this life to hold
	said   atomic.Pointer[string]
}

// posture is what this host may do about leases.
type posture struct {
	barred bool // it has no part in any service: it was left behind, or has not begun
	hushed bool // it keeps what it was given, with the fence closed
}

func (p posture) holds() bool { return !p.barred && !p.hushed }

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
	if s.Brother {
		return fmt.Sprintf("this host belongs to one of two clusters that were recovered from the same one, and yields to the later recovery (%s, as %s has told): it holds nothing and decides nothing; "+
			"run `nightporter leave` here and start its agent again, and it joins as a new member", shortID(s.By), s.Told)
	}
	return fmt.Sprintf("this host belongs to the cluster before a recovery that left it behind (%s goes on from it, as %s has told): it holds nothing and decides nothing; "+
		"run `nightporter leave` here and start its agent again, and it joins as a new member", shortID(s.By), s.Told)
}

func shortID(id string) string { return "cluster " + id[:min(len(id), 8)] }

// look finds out who is there, and what this host may do.
func (l *lineage) look() posture {
	view := l.machine.View()
	members := l.there()
	l.meet(view.State, members)
	if l.isSilent() {
		l.waits("")
		return posture{barred: true}
	}
	begun, lone := l.begun.Load(), l.lone(view)
	awaited, most := l.others(), hailLone
	if !lone {
		most = hailMost
		if begun {
			awaited = awake(view.State, l.self)
		}
	}
	doubts := l.doubt.look(awaited, most)
	why := l.leftBehind(view.State, members)
	switch {
	case why != "" || l.cluster(view.State) == "":
	case lone && len(awaited) > 0 && !l.doubt.hasLink():
		why = "this host has the only vote, and its LAN interface has no link: it holds nothing before it has called the others"
	case lone && doubts:
		why = "this host has the only vote and was away: it holds nothing before it has called the others, for " + hailLone.String() + " at most where they do not answer"
	}
	l.waits(why)
	switch {
	case !begun && (doubts || why != ""):
		return posture{barred: true}
	case !begun:
		l.begun.Store(true)
	}
	return posture{hushed: doubts || why != ""}
}

// lone says whether this host needs nobody to hold something: it has the only vote, as far as its log was applied.
func (l *lineage) lone(view fsm.View) bool {
	voters := cluster.Voters(view.Servers)
	return len(voters) == 0 || len(voters) == 1 && voters[0] == l.self
}

// withholds says whether this host's vote in leases is not given. With others beside it a majority of them answers for that; alone it must know
// by itself, at once, and not only when somebody has noticed that it was away.
func (l *lineage) withholds() bool {
	switch {
	case l == nil:
		return false
	case l.isSilent():
		return true
	case !l.doubt.is() && l.doubt.hasLink():
		return false
	}
	return l.lone(l.machine.View()) && len(l.others()) > 0
}

// awake lists where gossip of the other members is that should be awake.
func awake(state *fsm.State, self string) (addrs []string) {
	for name, n := range state.Nodes {
		if name != self && n.Gossip.IsValid() && n.Power != fsm.Asleep && n.Power != fsm.Off {
			addrs = append(addrs, n.Gossip.String())
		}
	}
	return addrs
}

// waits remembers why this host holds nothing.
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

// pedigree is that of the cluster that this host belongs to.
func (l *lineage) pedigree(state *fsm.State) pedigree {
	p := pedigreeOf(state)
	p.id = l.cluster(state)
	return p
}

// leftBehind names a host of a cluster that is below this one, and that may hold something; "" = there is none.
func (l *lineage) leftBehind(state *fsm.State, members []cluster.Member) string {
	if m, is := l.loose(state, members); is {
		return fmt.Sprintf("this host holds nothing yet: %s runs with the state of before the recovery, or of another one, and has not let go of it; stop its agent if this does not end by itself", m.Name)
	}
	return ""
}

// loose finds one. Who has fallen silent stays so as long as its agent runs, whatever else was heard of it before.
func (l *lineage) loose(state *fsm.State, members []cluster.Member) (cluster.Member, bool) {
	own := l.pedigree(state)
	silent := func(m cluster.Member) bool {
		return slices.ContainsFunc(members, func(o cluster.Member) bool {
			return o.Name == m.Name && o.Meta.Incarnation == m.Meta.Incarnation && o.Meta.Silent
		})
	}
	i := slices.IndexFunc(members, func(m cluster.Member) bool {
		return m.Status == cluster.Alive && !m.Meta.Waits && own.kinOf(m.Meta) == below && !silent(m)
	})
	if i < 0 {
		return cluster.Member{}, false
	}
	return members[i], true
}

// cluster is the ID of the cluster that this host belongs to, "" = none.
func (l *lineage) cluster(state *fsm.State) string {
	if l == nil {
		return state.Cluster.ID
	}
	return cmp.Or(state.Cluster.ID, l.born)
}

// meet finds out whether a member belongs to a cluster that is above this host's own.
func (l *lineage) meet(state *fsm.State, members []cluster.Member) {
	own := l.pedigree(state)
	if own.id == "" || l.isSilent() {
		return
	}
	for _, m := range members {
		if m.Status == cluster.Alive && own.kinOf(m.Meta) == above {
			s := &Superseded{Cluster: own.id, By: m.Meta.Cluster, Told: m.Name, At: l.clock.Wall(), Brother: own.brothers(m.Meta)}
			if l.silent.CompareAndSwap(nil, s) {
				l.log.Error(l.sentence())
			}
			return
		}
	}
}

// seeks says whether the others are to be called often.
func (l *lineage) seeks() bool {
	_, loose := l.loose(l.machine.View().State, l.there())
	return loose || l.doubt.often()
}

// answered is told of an answer to a call of a round.
func (l *lineage) answered(round uint64, addr string) {
	l.doubt.answered(round, addr)
	l.ring()
}

// lookAgain is how often a host that holds nothing looks whether it has let go, whether its disk has taken down that it is silent, and whether
// its doubt is over.
const lookAgain = 50 * time.Millisecond

// run ends a doubt in its time; it writes down that this host is silent, and tells the others once it has let go of everything.
func (l *lineage) run(ctx context.Context, members bell) {
	kept := l.isSilent()
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	look.Stop()
	var before posture
	for {
		now := l.look()
		if now != before {
			before = now
			l.ring() // who gives the tenants their wishes
		}
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
		}
		if !now.holds() {
			l.wait()
		}
		look.Stop()
		if l.restless(now) {
			look.Reset(lookAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-members:
		case <-look.C:
		}
	}
}

// restless says whether something is to be looked at again soon that rings no bell.
func (l *lineage) restless(p posture) bool {
	return !p.holds() && (l.isSilent() || !l.tenants.closed() || l.doubt.hasLink()) // a word that is too old rings no bell
}

// take has the tenants do as this host may. It says that it waits once all is closed (wait), and that it does not any more before anything is opened.
func (l *lineage) take() {
	l.turn.Lock()
	defer l.turn.Unlock()
	p := l.look()
	if p.holds() {
		l.meta.setWaits(false)
	}
	l.tenants.restrain(p)
}

// wait says that this host waits, if it holds nothing and all is closed. The tenants are told first, so that nothing can be opened in between.
func (l *lineage) wait() {
	l.turn.Lock()
	defer l.turn.Unlock()
	p := l.look()
	if p.holds() {
		return
	}
	l.tenants.restrain(p)
	if l.tenants.closed() {
		l.meta.setWaits(true)
	}
}

// saying is what a host said of itself, and when.
type saying struct {
	meta cluster.Meta
	at   lease.Boot
}

// wordLasts is for how long a word at first hand counts beside what gossip has of the same host: whoever is loose is called every second.
const wordLasts = 3 * time.Second

// word is told what a host says of itself in an exchange with it. Gossip may not have that yet: it ranks what it hears by counts, and an agent
// that was started anew has to outdo those of its former life first.
func (l *lineage) word(node string, m cluster.Meta) {
	l.mu.Lock()
	if l.words == nil {
		l.words = make(map[string]saying)
	}
	l.words[node] = saying{m, l.clock.Boot()}
	l.mu.Unlock()
	l.ring()
}

// there lists who is there, as gossip has it, and then who said so just now.
func (l *lineage) there() []cluster.Member {
	out := l.members()
	now := l.clock.Boot()
	l.mu.Lock()
	defer l.mu.Unlock()
	for node, w := range l.words {
		if now.Sub(w.at) >= wordLasts {
			delete(l.words, node)
			continue
		}
		m := cluster.Member{Name: node, Status: cluster.Alive, Meta: w.meta}
		if i := slices.IndexFunc(out, func(o cluster.Member) bool { return o.Name == node }); i >= 0 {
			m.Addr = out[i].Addr
		}
		out = append(out, m)
	}
	return out
}

// setSilent tells the others that this host has let go of what it had in the cluster before a recovery.
func (k *metaKeeper) setSilent() { k.change(func(m *cluster.Meta) { m.Silent = true }) }

// setWaits tells the others whether this host holds nothing before it knows who is there.
func (k *metaKeeper) setWaits(is bool) { k.change(func(m *cluster.Meta) { m.Waits = is }) }

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
	switch pedigreeOf(state).kinOf(m.Meta) {
	case above:
		return m.Name + " belongs to the cluster that goes on from this host's own after a recovery, or was recovered later from the same one"
	case below:
		does := "has not let go yet"
		if m.Meta.Silent {
			does = "holds nothing"
		}
		return m.Name + " belongs to a cluster that was recovered from the same one as this host's, earlier, and " + does + ": run `nightporter leave` there and start its agent again, and it joins as a new member"
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

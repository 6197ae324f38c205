package lease

import (
	"fmt"
	"slices"
	"time"
)

// world is a cluster around the real Voter and Holder: hosts with clocks of their own, a network that loses, delays,
// doubles and reorders, kernels that keep a fence open while a daemon is dead, and a Raft log in outline. It is driven
// by the random search (search_test.go) and by the exhaustive one (explore_test.go), which differ in bounds only.
// An observer who sees all fences at one instant judges after every step: I1, I2 and I9.
type world struct {
	bounds
	now    int64 // true time, ns; every host's clock is made from it
	voters []*simVoter
	nodes  []*simNode
	net    []msg
	given  []Release // releases that a hint may have brought to anybody
	raft   simRaft
	wire   uint64 // highest epoch ever open (I9)
	frozen bool   // bent clocks: hosts may stand still, and bends do not change
	cut    uint   // random search: the hosts of one side of a partition, by bits; host i is voter i and node i
}

// bounds limit a search; flaw is the mistake that is built in, to show that the search would find it.
type bounds struct {
	voterCount, nodeCount       int
	ttl, margin                 time.Duration
	rounds                      int // per node
	voterRestarts, nodeRestarts int
	owners                      []int         // explorer: the owner of epoch i+1; all committed, applied at any time
	jump                        time.Duration // a resume sets CLOCK_BOOTTIME wrong by up to this
	exhaustive                  bool
	bends                       bool // clocks are bent (bend_test.go)
	onlyI1                      bool // the voters know nothing of the log's epochs (rule 3), which I1 does not need
	small                       small
	flaw                        flaw
}

// clock is a host's: quartz of its own rate, and what bends it.
type clock struct {
	off, ppm int64
	bend     bend
}

func (c *clock) quartz(now int64) int64 { return now + scaled(now, c.ppm) }

func scaled(d, ppm int64) int64 { return d/1_000_000*ppm + d%1_000_000*ppm/1_000_000 }

func (c *clock) at(now int64) Boot {
	q := c.quartz(now)
	if c.bend != (bend{}) {
		return Boot(c.off + q + c.bend.at(q))
	}
	return Boot(c.off + q)
}

// until inverts at, a little late, if the clock goes on as now.
func (c *clock) until(b Boot) int64 {
	raw := (float64(int64(b)-c.off-c.bend.sum) + float64(c.bend.since)*float64(c.bend.ppm)/1e6) / (1 + float64(c.bend.ppm)/1e6)
	return int64(raw/(1+float64(c.ppm)/1e6)) + 2
}

type simVoter struct {
	clock
	name   string
	v      *Voter
	rule   Ruler
	ahead  time.Duration // of the ruler's sums, what the voter was told
	stored int           // how much of the log it has
	known  int           // how much of that it knows to be committed (for knownCommitted)
}

type simNode struct {
	clock
	name    string
	h       *Holder
	inc     uint64
	applied int
	rounds  int
	fence   fence
	rule    Ruler
	bent    Bent     // what the ruler said last
	granted Boot     // the end of the lease, if the clock goes on as fast as it should
	adopted uint64   // the epoch of a fence that this life found open and kept
	flawed  struct { // countUncommitted: the configuration that the log ended with when the node looked
		index   int
		members []int
	}
}

// fence is the kernel's part: it outlives the daemon and needs nobody to close.
type fence struct {
	epoch    uint64 // 0 = closed
	deadline Boot
}

func (n *simNode) open(now int64) bool { return n.fence.epoch != 0 && n.at(now) < n.fence.deadline }

type msgKind uint8

const (
	request msgKind = iota
	answer
	release
)

// msg is on its way to or from voter v. It may arrive any number of times, or never.
type msg struct {
	kind msgKind
	v    int
	n    int // the node: sender of requests and releases, receiver of answers
	req  Request
	rel  Release
	ans  Answer
}

func (w *world) send(m msg) {
	if w.exhaustive && slices.Contains(w.net, m) {
		return
	}
	w.net = append(w.net, m)
	if !w.exhaustive && len(w.net) > 160 {
		w.net = slices.Delete(w.net, 0, 1)
	}
}

const service = "web"

func newWorld(b bounds) *world {
	w := &world{bounds: b}
	for i := range b.voterCount {
		w.voters = append(w.voters, &simVoter{name: fmt.Sprint("v", i), stored: 1, known: 1})
	}
	for i := range b.nodeCount {
		name := string(rune('a' + i))
		w.nodes = append(w.nodes, &simNode{
			name: name, inc: 1, h: NewHolder(service, name, 1), applied: 1, rounds: b.rounds,
		})
	}
	w.raft = simRaft{log: []entry{{config: []int{0, 1, 2}}}, committed: 1, termStart: 1}
	if b.exhaustive {
		w.raft.started, w.raft.since = true, Boot(-b.ttl-b.margin) // and its leader, too
	}
	for _, v := range w.voters {
		v.v = NewVoter(v.name, v.at(0))
		v.v.settled = b.exhaustive // the explorer's voters have been up for long
	}
	for i, n := range b.owners {
		w.raft.log = append(w.raft.log, entry{epoch: uint64(i + 1), owner: n})
		w.raft.committed++
	}
	return w
}

// check is the observer on the segment.
func (w *world) check() error {
	holder := -1
	for i, n := range w.nodes {
		if !n.open(w.now) {
			continue
		}
		if holder >= 0 {
			return fmt.Errorf("I1: %s (epoch %d) and %s (epoch %d) are open at %v", w.nodes[holder].name,
				w.nodes[holder].fence.epoch, n.name, n.fence.epoch, time.Duration(w.now))
		}
		holder = i
	}
	if holder < 0 {
		return nil
	}
	n := w.nodes[holder]
	if n.fence.epoch < w.wire && !w.onlyI1 {
		return fmt.Errorf("I9: %s opened under epoch %d after epoch %d was on the wire", n.name, n.fence.epoch, w.wire)
	}
	w.wire = n.fence.epoch
	if w.raft.owner(n.fence.epoch, w.raft.committed) != holder {
		return fmt.Errorf("I2: %s is open under epoch %d, which the log gave to another", n.name, n.fence.epoch)
	}
	return nil
}

// begin asks all voters of the configuration that the node has applied.
func (w *world) begin(i int, ttl time.Duration, prior *Release) {
	n := w.nodes[i]
	epoch, _ := w.raft.newest(n.applied)
	index, members := w.raft.config(n.applied)
	if w.flaw == countUncommitted {
		index, members = w.uncommitted(n)
	}
	q := Quorum{Config: uint64(index)}
	for _, v := range members {
		q.Voters = append(q.Voters, w.voters[v].name)
	}
	margin := w.margin
	if w.flaw == noMargin {
		margin = 0
	}
	w.look(n)
	r, ok := n.h.Begin(n.at(w.now), epoch, q, ttl, margin, prior)
	n.rounds--
	if !ok {
		return
	}
	for _, v := range members {
		w.send(msg{kind: request, v: v, n: i, req: r})
	}
}

// giveUp closes the fence and sends the release.
func (w *world) giveUp(i int) {
	n := w.nodes[i]
	if w.flaw != releaseBeforeClose {
		n.fence = fence{}
	}
	before := n.h.round
	r, ok := n.h.Release()
	if !ok || r.Epoch < n.adopted {
		r, ok = n.releaseAdopted()
	}
	n.adopted = 0
	if !ok {
		return
	}
	if w.flaw == lateAnswer {
		n.h.round = before
	}
	if !slices.Contains(w.given, r) {
		w.given = append(w.given, r)
	}
	for v := range w.voters {
		w.send(msg{kind: release, v: v, n: i, rel: r})
	}
}

// hand hands a message in, once.
func (w *world) hand(m msg) {
	v, n := w.voters[m.v], w.nodes[m.n]
	w.lookVoter(v)
	w.look(n)
	switch m.kind {
	case request:
		a, ok := w.askVoter(v, m.req)
		switch {
		case !ok || w.exhaustive && a.Refusal != Granted: // a refusal opens nothing
		case w.small.prompt:
			w.tellHolder(n, a)
		default:
			w.send(msg{kind: answer, v: m.v, n: m.n, ans: a})
		}
	case release:
		w.tellVoter(v, m.rel)
	case answer:
		w.tellHolder(n, m.ans)
	}
}

func (w *world) facts(v *simVoter) Facts {
	epoch, _ := w.raft.newest(v.stored)
	index, _ := w.raft.config(v.stored)
	if w.flaw == knownCommitted {
		index, _ = w.raft.config(min(v.known, v.stored))
	}
	if w.onlyI1 {
		epoch = 0
	}
	return Facts{MaxTTL: w.ttl, StartWait: w.ttl, Config: uint64(index), Epoch: epoch}
}

func (w *world) restartVoter(i int, table bool) {
	v := w.voters[i]
	w.voterRestarts--
	w.forgetVoter(v)
	v.known = 1 // Raft writes nowhere what is committed
	if !table {
		v.v = NewVoter(v.name, v.at(w.now))
		if w.flaw == noAmnesia {
			v.v.settled = true
		}
		return
	}
	t, err := UnmarshalTable(v.v.Table().Marshal())
	if err != nil {
		panic(err)
	}
	v.v = RestoreVoter(v.name, t)
	if w.bends && w.flaw != unwatched {
		v.v.ClockUnwatched(v.at(w.now))
	}
	if w.flaw == tableHidesAmnesia {
		v.v.settled = true
	}
}

// restartNode kills the daemon and starts it anew. It finds the fence as the kernel kept it, and closes it or keeps it.
func (w *world) restartNode(i int, keep bool) {
	n := w.nodes[i]
	w.nodeRestarts--
	if w.flaw != repeatedIncarnation {
		n.inc++
	}
	n.h = NewHolder(service, n.name, n.inc)
	n.adopted = 0
	w.forgetNode(n)
	if !keep {
		n.fence = fence{}
		return
	}
	n.adopted = n.fence.epoch
	if n.adopted != 0 && w.flaw != adoptedForgotten {
		n.h.Adopt(n.adopted)
	}
}

// releaseAdopted is the release of a found fence in the name of this life, which has asked for nothing as high.
func (n *simNode) releaseAdopted() (Release, bool) {
	if n.adopted == 0 {
		return Release{}, false
	}
	n.h.seq++
	return Release{Service: service, Epoch: n.adopted, Node: n.name, Incarnation: n.inc, Seq: n.h.seq}, true
}

// resume is a suspend and a resume of the host after which CLOCK_BOOTTIME is wrong by jump.
func (w *world) resumeNode(i int, jump time.Duration) {
	n := w.nodes[i]
	n.fence = fence{}
	if w.flaw != answerAcrossSuspend {
		n.h.Abandon()
	}
	n.off += int64(jump)
}

func (w *world) resumeVoter(i int, jump time.Duration) {
	v := w.voters[i]
	v.off += int64(jump)
	if w.flaw != clockJumpIgnored {
		v.v.ClockJumped(w.jump)
	}
	w.raft.clockJumped(i, w.steady(v))
}

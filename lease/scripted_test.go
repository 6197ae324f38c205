package lease

import "testing"

// pass hands in what is on its way between a node and some voters, oldest first, and takes it off the network.
func (w *world) pass(kind msgKind, node int, voters ...int) {
	for _, v := range voters {
		for k := 0; k < len(w.net); k++ {
			if m := w.net[k]; m.kind == kind && m.n == node && m.v == v {
				w.net = append(w.net[:k:k], w.net[k+1:]...)
				w.hand(m)
				k--
			}
		}
	}
}

// fullRound is a round that only these voters hear.
func (w *world) fullRound(node int, voters ...int) {
	w.begin(node, w.ttl, nil)
	w.pass(request, node, voters...)
	w.pass(answer, node, voters...)
}

// TestRareMistakesAreTold tells two long stories, with the mistake and without: chance finds them, too, but rarely.
func TestRareMistakesAreTold(t *testing.T) {
	for f, tell := range map[flaw]func(w *world) error{
		lowerIncarnation: tellLowerIncarnation,
		countUncommitted: tellCountUncommitted,
	} {
		t.Run(flawNames[f], func(t *testing.T) {
			b := bounds{
				voterCount: 4, nodeCount: 2, ttl: 100, margin: 4, exhaustive: true, flaw: f,
				voterRestarts: 1, nodeRestarts: 1, rounds: 10,
			}
			if err := tell(newWorld(b)); err == nil {
				t.Error("with the mistake, nothing was broken")
			}
			b.flaw = none
			if err := tell(newWorld(b)); err != nil {
				t.Errorf("without the mistake: %v", err)
			}
		})
	}
}

// tellLowerIncarnation: a's first life asked and released, all of it late; its second life holds the same epoch; then a
// voter hears of the first life.
func tellLowerIncarnation(w *world) error {
	a, b := 0, 1
	w.raft.log = []entry{{config: []int{0, 1, 2}}, {epoch: 1, owner: a}, {epoch: 2, owner: b}}
	w.raft.committed = len(w.raft.log)
	w.nodes[a].applied = 2
	w.begin(a, w.ttl, nil)
	w.giveUp(a)
	late := w.net
	w.net = nil
	w.restartNode(a, false)
	w.fullRound(a, 0, 1)
	w.net = late
	w.pass(request, a, 0)
	w.pass(release, a, 0)
	w.nodes[b].applied = 3
	w.net = nil
	w.fullRound(b, 0, 2)
	return w.check()
}

// tellCountUncommitted: of four voters, a counts in a configuration of three that is never committed; the next leader
// commits another three. The two majorities do not meet.
func tellCountUncommitted(w *world) error {
	a, b := 0, 1
	w.raft = simRaft{
		log:       []entry{{config: []int{0, 1, 2, 3}}, {epoch: 1, owner: a}},
		committed: 2, started: true, since: -1000, termStart: 1,
	}
	for _, v := range w.voters {
		v.stored = 2
	}
	w.propose(entry{config: []int{0, 1, 2}})
	w.nodes[a].applied = 2
	w.fullRound(a, 0, 1)
	if !w.mayLead(3) {
		panic("voter 3 cannot be elected")
	}
	w.elect(3)
	w.voters[1].stored, w.voters[2].stored = 3, 3
	w.commit()
	for range 4 {
		w.now += 30
		w.fullRound(a, 0, 1)
	}
	if !w.mayChangeVoters(0) {
		panic("the voters cannot be changed")
	}
	w.changeVoters(0)
	w.voters[2].stored = len(w.raft.log)
	w.commit()
	w.assign(b)
	w.voters[2].stored = len(w.raft.log)
	w.commit()
	w.nodes[b].applied = w.raft.committed
	w.net = nil
	w.fullRound(b, 2, 3)
	if !w.nodes[b].open(w.now) {
		panic("b did not open")
	}
	return w.check()
}

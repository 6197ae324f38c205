package agent

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
)

// Who shows another key than the one on record is not the node, until another member's word says so; that word counts for that record alone.
func TestWhoIsWho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		solo := &soloRaft{machine: foundedMachine(t, log), t: t, index: 2}
		solo.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "old", Policy: fsm.AlwaysOn}})
		met := []cluster.Member{{Name: "c", Status: cluster.Alive, Meta: cluster.Meta{Pin: "first"}}}
		p := &pins{
			self: "a", clock: &fakeClock{began: time.Now()}, machine: solo.machine, members: func() []cluster.Member { return met }, log: log, bell: newBell(),
			sworn: make(map[string]sworn), seen: make(map[shown]pretender), spots: make(map[string]spot),
		}
		state := func() *fsm.State { return solo.machine.View().State }
		want := func(when, node, key string, impostor bool, problems int) {
			t.Helper()
			if why := p.impostor(node, key); (why != "") != impostor {
				t.Errorf("%s: %s with the key %q: %q", when, node, key, why)
			}
			if got := p.problems(state()); len(got) != problems {
				t.Errorf("%s: the problems are %v", when, got)
			}
		}
		want("as on record", "b", "old", false, 0)
		want("another machine", "b", "new", true, 1)
		if got := p.problems(state())[0]; !strings.Contains(got.What, "calls itself b shows another key") || !strings.Contains(got.Do, "nightporter forget b") {
			t.Errorf("the problem is %+v", got)
		}
		if got := p.doubted(); len(got) != 1 || len(p.doubted()) != 0 {
			t.Errorf("the others are asked about %v, and at once again", got)
		}
		want("nobody on record, nobody met", "d", "any", false, 1)
		want("nobody on record, somebody met", "c", "first", false, 1)
		want("nobody on record, another one met", "c", "second", true, 1)

		p.sworn["b"] = sworn{key: "new", instead: "old"}
		want("another member has it on record", "b", "new", false, 0)
		want("a third one", "b", "third", true, 1)
		time.Sleep(conflictLasts)
		want("the third one is gone", "b", "old", false, 0)

		p.hearsay("b", "before") // from a host that slept while b was replaced
		want("an old tale", "b", "old", false, 0)
		if got := p.doubted(); len(got) != 1 {
			t.Errorf("the others are asked about %v", got)
		}
		met = append(met, cluster.Member{Name: "b", Status: cluster.Alive, Meta: cluster.Meta{Pin: "before"}})
		want("it is there", "b", "old", false, 1)
		met[1].Meta.Pin = "old"
		want("it is gone again", "b", "old", false, 0)

		solo.must(fsm.RemoveNode{Name: "b", Reason: fsm.OwnerLeft})
		solo.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "newest", Policy: fsm.AlwaysOn}})
		want("the word was about another record", "b", "new", true, 1)
		want("as on record again", "b", "newest", false, 1)

		// It is replaced once more, and a host that slept through that wakes and tells of the machine before.
		time.Sleep(conflictLasts)
		want("the next one", "b", "next", true, 1)
		solo.must(fsm.RemoveNode{Name: "b", Reason: fsm.OwnerLeft})
		solo.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "next", Policy: fsm.AlwaysOn}})
		want("it is the node now", "b", "next", false, 0)
		p.hearsay("b", "newest")
		want("an old tale soon after", "b", "next", false, 0)
		want("the former one itself", "b", "newest", true, 1)
		time.Sleep(conflictLasts)
		if p.doubted(); len(p.seen) != 0 {
			t.Errorf("what nobody speaks of any more is kept: %v", p.seen)
		}
	})
}

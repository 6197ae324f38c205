package cluster

import (
	"testing"
	"time"

	"nightporter/fsm"
)

// unheard is a world in which gossip has everybody in touch and no owner ever finds a majority for its lease.
type unheard struct {
	View
	changes int
}

func (u *unheard) pass(d time.Duration) {
	for end := u.Now.Add(d); u.Now < end; {
		u.Now, u.Wall = u.Now.Add(100*time.Millisecond), u.Wall.Add(100*time.Millisecond)
		u.carryOut()
	}
}

func (u *unheard) carryOut() {
	for _, a := range Plan(u.View) {
		u.changes++
		u.State.History["web"] = append(u.State.History["web"], fsm.Change{
			At: a.At, Epoch: a.Planned + 1, From: u.State.Ownerships["web"].Owner, To: a.Owner, Reason: a.Reason,
		})
		u.State.Ownerships["web"] = fsm.Ownership{Owner: a.Owner, Epoch: a.Planned + 1, Reason: a.Reason, Since: a.At}
		u.Tenures["web"] = Sign{Epoch: a.Planned + 1, Seen: u.Now}
	}
}

func TestOwnersThatNobodyHearsDoNotChangeForever(t *testing.T) {
	u := &unheard{View: world{nodes: "a:awake b:awake c:awake d:asleep", targets: []string{"d"}, leader: "a"}.view()}
	u.pass(5 * time.Second)
	if u.changes < 3 {
		t.Errorf("%d changes in the first 5 s: the first two failures are to be answered at once", u.changes)
	}
	before := u.changes
	u.pass(10 * time.Minute)
	// 4 s, 8 s, ... up to a minute: 5 changes, then one each minute.
	if later := u.changes - before; later < 10 || later > 16 {
		t.Errorf("%d changes in the next 10 min, want about one each minute", later)
	}
	before = u.changes
	dead := u.State.Ownerships["web"].Owner
	u.Present[dead] = Presence{}
	u.pass(2 * time.Second)
	if u.changes == before || u.State.Ownerships["web"].Owner == dead {
		t.Errorf("an owner that gossip has lost is replaced at once, however often the service changed hands")
	}
}

func TestRestEndsWhenAnOwnerIsHeard(t *testing.T) {
	u := &unheard{View: world{nodes: "a:awake b:awake c:awake d:asleep", targets: []string{"d"}, leader: "a"}.view()}
	u.pass(30 * time.Second)
	for range 900 { // a lease is renewed for a minute and a half
		u.Tenures["web"] = Sign{Epoch: u.State.Ownerships["web"].Epoch, Seen: u.Now}
		u.pass(100 * time.Millisecond)
	}
	before := u.changes
	u.pass(u.Timing.TTL + 200*time.Millisecond)
	if u.changes != before+1 {
		t.Errorf("%d changes after the crash of an owner that had worked for long, want 1 within a ttl", u.changes-before)
	}
}

func TestAClockThatWasSetBackDelaysNoFailover(t *testing.T) {
	u := &unheard{View: world{nodes: "a:awake b:awake c:awake d:asleep", targets: []string{"d"}, leader: "a"}.view()}
	u.pass(time.Minute)
	before := u.changes
	u.Wall = u.Wall.Add(-time.Hour)
	u.pass(u.Timing.TTL + 200*time.Millisecond)
	if u.changes == before {
		t.Error("a leader whose clock is an hour behind never acts")
	}
}

// TestAWrongWallClockDampsNobodyForLong: the stamp of a loss may be another leader's, whose clock was an hour ahead.
func TestAWrongWallClockDampsNobodyForLong(t *testing.T) {
	for ahead, want := range map[time.Duration]bool{
		-time.Second: true, -time.Hour: false, 2 * time.Second: true, time.Minute: false, time.Hour: false,
	} {
		v := world{nodes: "a:awake b:awake", targets: []string{"b"}, owner: "a", epoch: 2}.view()
		v.State.History["web"] = []fsm.Change{{At: v.Wall.Add(ahead), Epoch: 2, From: "b", To: "a", Reason: fsm.OwnerFailed}}
		if got := v.damped("web", "b"); got != want {
			t.Errorf("a loss that is stamped %v from now: damped %v, want %v", ahead, got, want)
		}
	}
}

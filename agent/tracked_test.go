package agent

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/fsm"
	"nightporter/idle"
)

// TestWhatAClientSaidToAContainer: what connection tracking counted before the wake is none of what that was good for. The whole table is
// listed for the first look and the last one, and seldom between them.
func TestWhatAClientSaidToAContainer(t *testing.T) {
	flow := func(local, client string, received uint64) idle.Conn {
		return idle.Conn{Local: netip.MustParseAddrPort(local + ":8080"), Remote: netip.MustParseAddrPort(client), Received: received}
	}
	const service, own, client = "10.77.0.200", "10.77.0.12", "192.0.2.7:4000"
	opened := tenancy{Opened: true, Serving: true}
	vague := flow(service, client, 0)
	vague.Vague = true
	for _, c := range []struct {
		name          string
		hold          fsm.Hold
		at            tenancy // when the host hears of the wake
		before, after []idle.Conn
		want          fsm.Verdict
	}{
		{"a connection of before, on which nothing is said", fsm.HoldDrop, tenancy{}, []idle.Conn{flow(service, client, 2)}, []idle.Conn{flow(service, client, 2)}, fsm.Spurious},
		{"no more than its end", fsm.HoldDrop, tenancy{}, []idle.Conn{flow(service, client, 2)}, []idle.Conn{flow(service, client, 3)}, fsm.Spurious},
		{"one on which something is said", fsm.HoldDrop, tenancy{}, []idle.Conn{flow(service, client, 2)}, []idle.Conn{flow(service, client, 90)}, fsm.Useful},
		{"a new one", fsm.HoldDrop, tenancy{}, nil, []idle.Conn{flow(service, client, 90)}, fsm.Useful},
		{"a new one beside it", fsm.HoldDrop, tenancy{}, []idle.Conn{flow(service, client, 900)}, []idle.Conn{flow(service, client, 900), flow(service, "192.0.2.7:4001", 90)}, fsm.Useful},
		{"a new one from the same port", fsm.HoldDrop, tenancy{}, []idle.Conn{flow(service, client, 900)}, []idle.Conn{flow(service, client, 90)}, fsm.Useful},
		{"another client's", fsm.HoldDrop, tenancy{}, nil, []idle.Conn{flow(service, "192.0.2.8:4000", 90)}, fsm.Spurious},
		{"not counted", fsm.HoldDrop, tenancy{}, nil, []idle.Conn{vague}, fsm.Unknown},
		{"it may have come before the word of its wake", fsm.HoldDrop, opened, []idle.Conn{flow(service, client, 90)}, []idle.Conn{flow(service, client, 90)}, fsm.Unknown},
		{"so may one that a front passed on", fsm.HoldProxy, tenancy{}, []idle.Conn{flow(own, "10.77.0.11:4000", 90)}, []idle.Conn{flow(own, "10.77.0.11:4000", 90)}, fsm.Unknown},
	} {
		synctest.Test(t, func(t *testing.T) {
			uses := &fakeUses{flows: c.before}
			x := newVerdicts(t, c.hold, uses)
			x.tenancy = c.at
			x.begin("w", "b", fsm.Demand)
			x.look()
			x.tenancy, uses.flows = opened, c.after
			looks := 1
			for time.Sleep(judgeEvery); x.look(); time.Sleep(judgeEvery) {
				looks++
			}
			if len(x.recorded) != 1 || x.recorded[0].(fsm.JudgeWake).Verdict != c.want {
				t.Errorf("%s: recorded %+v, want %q", c.name, x.recorded, c.want)
			}
			if most := 2 + int(time.Duration(looks)*judgeEvery/trackEvery); uses.lists > most || uses.lists < 2 {
				t.Errorf("%s: the table was listed %d times in %d looks, want 2 to %d", c.name, uses.lists, looks, most)
			}
		})
	}
}

// TestTheLastLookAtContainersIsFresh: what a client said a moment before its time was over counts.
func TestTheLastLookAtContainersIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		uses := &fakeUses{}
		x := newVerdicts(t, fsm.HoldDrop, uses)
		x.begin("w", "b", fsm.Demand)
		x.look()
		time.Sleep(2 * time.Second) // the last look is none of those that are due anyway
		x.tenancy = tenancy{Opened: true, Serving: true}
		for began := time.Now(); x.look(); time.Sleep(judgeEvery) {
			if time.Since(began) >= judgeAfter-judgeEvery {
				uses.flows = []idle.Conn{{Local: netip.MustParseAddrPort("10.77.0.200:8080"), Remote: netip.MustParseAddrPort("192.0.2.7:4000"), Received: 90}}
			}
		}
		if len(x.recorded) != 1 || x.recorded[0].(fsm.JudgeWake).Verdict != fsm.Useful {
			t.Errorf("recorded %+v", x.recorded)
		}
	})
}

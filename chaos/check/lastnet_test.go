package check

import (
	"testing"
	"time"

	"nightporter/chaos/history"
)

// lastNight is a run in which h3 sleeps with an alarm, h2 after it, and h1, the last one that is awake, loses its power. h3's alarm goes off, and
// it calls h2.
func lastNight() *history.History {
	return &history.History{
		Began: t0, Calm: sec(60), Ended: sec(100),
		Setup: history.Setup{
			Hosts:    []history.Host{{Name: "h1"}, {Name: "h2", Sleeper: true}, {Name: "h3", Sleeper: true, Alarm: 20 * time.Second}},
			Failover: time.Second, Resume: time.Second,
		},
		Suspends: []history.Suspend{{Host: "h3", At: sec(5), Voters: []string{"h1", "h2", "h3"}}},
		Powers: []history.Power{
			{Host: "h3", At: sec(5.1), State: history.Asleep},
			{Host: "h2", At: sec(10), State: history.Asleep},
			{Host: "h1", At: sec(11), State: history.Off},
			{Host: "h3", At: sec(25), State: history.Resuming},
			{Host: "h3", At: sec(25.5), State: history.Up},
			{Host: "h2", At: sec(32), State: history.Resuming},
			{Host: "h2", At: sec(33), State: history.Up},
			{Host: "h1", At: sec(55), State: history.Up},
		},
		Samples: []history.Sample{
			{At: sec(1), Host: "h1", Voters: []string{"h1", "h2", "h3"}}, {At: sec(50), Host: "h2", Voters: []string{"h1", "h2", "h3"}},
		},
	}
}

func TestTheLastNetHasTeeth(t *testing.T) {
	for _, c := range []struct {
		name           string
		judged, faults int
		spoil          func(*history.History)
	}{
		{"it stays up and calls", 1, 0, func(*history.History) {}},
		{"it sleeps on", 1, 2, func(h *history.History) { h.Powers = h.Powers[:3] }},
		{"it goes back to sleep", 1, 1, func(h *history.History) {
			h.Powers = append(h.Powers, history.Power{Host: "h3", At: sec(26), State: history.Asleep})
		}},
		{"it calls nobody", 1, 1, func(h *history.History) { h.Powers = h.Powers[:5] }},
		{"somebody else is awake", 0, 0, func(h *history.History) { h.Powers = append(h.Powers[:2], h.Powers[3:]...) }},
		{"it was woken before", 0, 0, func(h *history.History) {
			h.Powers[3].At, h.Powers[4].At = sec(15), sec(16)
		}},
		{"the other one got its power back meanwhile", 0, 0, func(h *history.History) { h.Powers[7].At = sec(27) }},
		{"its cable was out", 0, 0, func(h *history.History) {
			h.Faults = []history.Fault{{Kind: history.Cable, Host: "h3", From: sec(24), Took: sec(24), To: sec(30)}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := lastNight()
			c.spoil(h)
			d := new(docket)
			lastNet(h, d)
			if d.judged != c.judged || len(d.findings) != c.faults {
				t.Errorf("judged %d with %q", d.judged, d.findings)
			}
		})
	}
}

// What came of a night is counted: an alarm with nobody awake, and that clients were served by those whom its host called.
func TestTheLastNetTellsWhatItSaw(t *testing.T) {
	for _, c := range []struct {
		name    string
		at      float64 // when a client is served
		on, out int
	}{
		{"served while the dead host has no power", 40, 1, 1},
		{"served before the alarm", 8, 1, 0},
		{"served by the one that came back", 56, 1, 0},
		{"no alarm", 40, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := lastNight()
			h.Requests = []history.Request{{Client: "c1", Service: "web", Began: sec(c.at), Ended: sec(c.at), Server: "h2"}}
			if c.on == 0 {
				h.Suspends = nil
			}
			d := new(docket)
			lastNet(h, d)
			if len(d.seen) != 2 || d.seen[0].Times != c.on || d.seen[1].Times != c.out {
				t.Errorf("%v", d.seen)
			}
		})
	}
}

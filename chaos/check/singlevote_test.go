package check

import (
	"testing"
	"time"

	"nightporter/chaos/history"
)

// duo is a run of two hosts: h2 holds web and votes, and h1 dies.
func duo() *history.History {
	voters := []string{"h2"}
	return &history.History{
		Began: t0, Calm: sec(60), Ended: sec(100),
		Setup: history.Setup{
			Hosts: []history.Host{{Name: "h1"}, {Name: "h2", Sleeper: true}}, Settle: sec(10).Sub(t0), Failover: time.Second,
			Services: []history.Service{{Name: "web", Targets: []string{"h2"}}},
		},
		Faults:   []history.Fault{{Kind: history.PowerOff, Host: "h1", From: sec(20), Took: sec(20), To: sec(30)}},
		Powers:   []history.Power{{Host: "h1", At: sec(20), State: history.Off}, {Host: "h1", At: sec(30), State: history.Up}},
		Records:  []history.Record{{Service: "web", Epoch: 1, Index: 5, To: "h2", At: sec(1)}},
		Requests: []history.Request{{Client: "c1", Service: "web", Began: sec(22), Ended: sec(22.1), Server: "h2"}},
		Samples:  []history.Sample{{At: sec(10), Voters: voters}, {At: sec(35), Voters: voters}, {At: sec(90), Voters: voters}},
		Ends:     []history.End{{Host: "h1", Owners: map[string]string{"web": "h2"}}, {Host: "h2", Owners: map[string]string{"web": "h2"}}},
	}
}

func TestTheSingleVoteHasTeeth(t *testing.T) {
	for _, c := range []struct {
		name           string
		judged, faults int
		spoil          func(*history.History)
	}{
		{"the holder votes, and the other's death is not felt", 2, 0, func(*history.History) {}},
		{"a client feels it", 2, 1, func(h *history.History) { h.Requests[0].Server, h.Requests[0].Err = "", "no answer" }},
		{"the vote is with the other in the end", 2, 1, func(h *history.History) { h.Samples[2].Voters = []string{"h1"} }},
		{"both vote in the end", 2, 1, func(h *history.History) { h.Samples[2].Voters = []string{"h1", "h2"} }},
		{"the service moved when the end had been looked at, and the vote after it", 2, 0, func(h *history.History) {
			h.Records = append(h.Records, history.Record{Service: "web", Epoch: 2, Index: 9, From: "h2", To: "h1", At: sec(65)})
			h.Samples[2].Voters = []string{"h1"}
		}},
		{"and the vote did not", 2, 1, func(h *history.History) {
			h.Records = append(h.Records, history.Record{Service: "web", Epoch: 2, Index: 9, From: "h2", To: "h1", At: sec(70)})
		}},
		{"it moved so late that the vote need not have followed", 1, 0, func(h *history.History) {
			h.Records = append(h.Records, history.Record{Service: "web", Epoch: 2, Index: 9, From: "h2", To: "h1", At: sec(72)})
		}},
		{"it moved later than the voters were asked for", 2, 0, func(h *history.History) {
			h.Records = append(h.Records, history.Record{Service: "web", Epoch: 2, Index: 9, From: "h2", To: "h1", At: sec(91)})
		}},
		{"it was deleted", 2, 0, func(h *history.History) {
			h.Records = append(h.Records, history.Record{Service: "web", Epoch: 2, Index: 9, From: "h2", At: sec(65)})
		}},
		{"the one that died had the vote", 1, 0, func(h *history.History) {
			h.Samples[0].Voters, h.Samples[1].Voters, h.Requests[0].Server = []string{"h1"}, []string{"h1"}, ""
		}},
		{"something else was wrong", 1, 0, func(h *history.History) {
			h.Faults = append(h.Faults, history.Fault{Kind: history.Noise, From: sec(19), Took: sec(19), To: sec(21)})
			h.Requests[0].Server = ""
		}},
		{"somebody had asked for something long before, and never heard of it", 2, 0, func(h *history.History) {
			h.Commands = []history.Command{{Verb: "sleep", Arg: "h2", Began: sec(9)}}
		}},
		{"and shortly before", 1, 0, func(h *history.History) {
			h.Commands = []history.Command{{Verb: "sleep", Arg: "h2", Began: sec(11)}}
		}},
		{"nobody asks for anything meanwhile", 1, 0, func(h *history.History) { h.Requests = nil }},
		{"what the fault still does while it is lifted is the same fault", 2, 0, func(h *history.History) {
			h.Faults = append(h.Faults, history.Fault{Kind: history.PowerOff, Host: "h1", From: sec(30), Took: sec(30), To: sec(30.1)})
		}},
		{"three hosts", 0, 0, func(h *history.History) { h.Setup.Hosts = append(h.Setup.Hosts, history.Host{Name: "h3"}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := duo()
			c.spoil(h)
			d := new(docket)
			singleVote(h, d)
			if d.judged != c.judged || len(d.findings) != c.faults {
				t.Errorf("judged %d with %q", d.judged, d.findings)
			}
		})
	}
}

package idle

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Each line is a look: the flows that are there, and which subjects are in use then.
func TestFlowTable(t *testing.T) {
	rules := FlowRules{Least: 4096, Window: time.Minute}
	flow := func(key string, received, sent uint64) Flow {
		return Flow{Key: key, Subject: key[:3], Client: netip.MustParseAddrPort("192.0.2.7:5000"), Received: received, Sent: sent}
	}
	type look struct {
		at    time.Duration
		flows []Flow
		want  string
	}
	const s = time.Second
	for name, looks := range map[string][]look{
		"what was there before counts when it carries more": {
			{0, []Flow{flow("web1", 1<<30, 1<<30)}, ""},
			{10 * s, []Flow{flow("web1", 1<<30, 1<<30)}, ""},
			{20 * s, []Flow{flow("web1", 1<<30, 1<<30+4095)}, ""},
			{30 * s, []Flow{flow("web1", 1<<30+1, 1<<30+4095)}, "web"},
			{80 * s, []Flow{flow("web1", 1<<30+1, 1<<30+4095)}, ""},
		},
		"keepalives carry nothing, those of programs little": {
			{0, []Flow{flow("ssh1", 100, 100)}, ""},
			{30 * s, []Flow{flow("ssh1", 200, 200)}, ""},
			{60 * s, []Flow{flow("ssh1", 1000, 1000)}, ""},
			{90 * s, []Flow{flow("ssh1", 2000, 2000)}, ""},
			{160 * s, []Flow{flow("ssh1", 4000, 4000)}, ""},
		},
		"a new one counts when both sides have spoken": {
			{0, nil, ""},
			{10 * s, []Flow{flow("web1", 0, 0)}, ""},
			{20 * s, []Flow{flow("web1", 10, 0)}, ""},
			{30 * s, []Flow{flow("web1", 10, 1)}, "web"},
			{80 * s, []Flow{flow("web1", 10, 1)}, "web"},
			{90 * s, []Flow{flow("web1", 10, 1)}, ""},
			{100 * s, []Flow{flow("web1", 20, 2)}, ""},
		},
		"one that lived between two looks": {
			{0, nil, ""},
			{10 * s, []Flow{{Key: "web1", Subject: "web", Received: 80, Sent: 500, Ended: true}}, "web"},
			{60 * s, nil, "web"},
			{70 * s, nil, ""},
		},
		"a scanner that says nothing": {
			{0, nil, ""},
			{10 * s, []Flow{{Key: "web1", Subject: "web", Ended: true}, flow("nas1", 0, 0)}, ""},
		},
		"several services": {
			{0, []Flow{flow("nas1", 0, 0)}, ""},
			{10 * s, []Flow{flow("nas1", 9000, 0), flow("web1", 1, 1), flow("web2", 1, 1)}, "nas web"},
		},
		"a counter that falls is another's": {
			{0, []Flow{flow("web1", 1<<40, 0)}, ""},
			{10 * s, []Flow{flow("web1", 5, 0)}, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := NewFlowTable(rules)
			for _, l := range looks {
				var got []string
				for _, r := range table.Look(l.at, l.flows) {
					if r.Name != Flows || r.Kind != Use || r.Sentence == "" {
						t.Errorf("at %v: %+v", l.at, r)
					}
					got = append(got, r.Subject)
				}
				if s := strings.Join(got, " "); s != l.want {
					t.Errorf("at %v: %q are in use, want %q", l.at, s, l.want)
				}
			}
			if n := len(table.seen); n > 3 {
				t.Errorf("%d flows are remembered", n)
			}
		})
	}
}

func TestFlowSentences(t *testing.T) {
	table := NewFlowTable(FlowRules{Least: 4096, Window: time.Minute})
	table.Look(0, nil)
	client := netip.MustParseAddrPort("192.0.2.7:5000")
	one := []Flow{{Key: "1", Subject: "web", Client: client, Received: 80, Sent: 500}}
	if got := table.Look(1, one)[0].Sentence; got != "a client uses web: 580 bytes carried by 192.0.2.7:5000 in the last 1m0s" {
		t.Error(got)
	}
	two := append(one, Flow{Key: "2", Subject: "web", Client: netip.MustParseAddrPort("[2001:db8::7]:6000"), Received: 44, Sent: 20_000_000})
	if got := table.Look(2, two)[0].Sentence; got != "2 connections to web are used: 20 MB carried by [2001:db8::7]:6000 in the last 1m0s" {
		t.Error(got)
	}
}

// What has ended is forgotten, however many there were.
func TestFlowTableForgets(t *testing.T) {
	table := NewFlowTable(FlowRules{Least: 4096, Window: time.Minute})
	table.Look(0, nil)
	for i := range 1000 {
		table.Look(time.Duration(i)*time.Second, []Flow{{Key: string(rune('a' + i)), Subject: "web", Received: 1, Sent: 1, Ended: true}})
	}
	if n := len(table.seen); n > 60 {
		t.Errorf("%d flows are remembered", n)
	}
}

package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
)

// pair is two hosts that see each other, the first of which holds a service that the second hears.
func pair() []api.DoctorNode {
	h1 := netip.MustParseAddr("192.0.2.11")
	to := func(node string, a netip.Addr, port uint16, proto string) api.DoctorReach {
		return api.DoctorReach{To: node, Addr: netip.AddrPortFrom(a, port), Proto: proto, Result: reachOK}
	}
	return []api.DoctorNode{
		{
			Node: "alpha", State: StateExamined, Version: "v2", Digest: "0123456789",
			Reached: []api.DoctorReach{to("bravo", h2, 7373, "tcp"), to("bravo", h2, 7374, "tcp"), to("bravo", h2, 7373, "udp")},
			Holds:   []api.DoctorHold{{Service: "web", MAC: api.MAC(mac0), Addrs: []netip.Addr{ip0}}},
			Heard:   []api.DoctorHeard{{Service: "web", Addr: ip0}},
		},
		{
			Node: "bravo", State: StateExamined, Version: "v2", Digest: "0123456789",
			Reached: []api.DoctorReach{to("alpha", h1, 7373, "tcp"), to("alpha", h1, 7374, "tcp"), to("alpha", h1, 7373, "udp")},
			Heard:   []api.DoctorHeard{{Service: "web", Addr: ip0, MACs: []api.MAC{api.MAC(mac0)}}},
		},
	}
}

var togetherCases = []struct {
	name, word string
	make       func([]api.DoctorNode)
}{
	{"blocked-one-way", "alpha does not reach 7373/udp of bravo", func(n []api.DoctorNode) { n[0].Reached[2].Result = reachSilent }},
	{"blocked-one-way", "bravo does not reach 7374/tcp of alpha", func(n []api.DoctorNode) { n[1].Reached[1].Result = reachUnreachable }},
	{"mac0-unseen", "alpha holds web, and bravo asked", func(n []api.DoctorNode) { n[1].Heard[0].MACs = nil }},
	{"mac0-unseen", "heard nothing from 02:00:00:00:00:09", func(n []api.DoctorNode) { n[1].Heard[0].MACs = []api.MAC{api.MAC(evil)} }},
	{"second-mac-unseen", "bravo sent frames from its own MAC and from 06:4e:50:00:00:01, and alpha heard the first and nothing of the second", func(n []api.DoctorNode) {
		n[1].SecondMAC, n[0].Frames = secondSent, []api.DoctorFrames{{From: "bravo", MAC: api.MAC{6, 0x4e, 0x50, 0, 0, 1}, Own: 9}}
	}},
	{"second-mac-untried", "was not tried at bravo, which holds no service", func(n []api.DoctorNode) { n[1].SecondMAC = secondNotTried }},
	{"second-mac-untried", "was not tried at alpha and bravo, which hold no service", func(n []api.DoctorNode) { n[0].SecondMAC, n[1].SecondMAC = secondNotTried, secondNotTried }},
	{"second-mac-untried", "nothing was heard of the test frames of bravo", func(n []api.DoctorNode) {
		n[1].SecondMAC, n[0].Frames = secondSent, []api.DoctorFrames{{From: "bravo", Own: secondFew - 1}}
	}},
	{"clock-skew", "bravo is at least 3s before that of alpha", func(n []api.DoctorNode) { n[1].Off = api.Duration(3 * time.Second) }},
	{"clock-skew", "alpha is at least 1h0m0s before that of bravo", func(n []api.DoctorNode) { n[1].Off = api.Duration(-time.Hour) }},
	{"versions-mixed", "bravo has v1", func(n []api.DoctorNode) { n[1].Version = "v1" }},
	{"config-differs", "bravo has ffff", func(n []api.DoctorNode) { n[1].Digest = "ffff" }},
	{"peer-unexamined", "no route", func(n []api.DoctorNode) { n[1].State, n[1].Detail = StateSilent, "no route" }},
	{"peer-unexamined", "no such operation", func(n []api.DoctorNode) { n[1].State, n[1].Detail = StateOld, "no such operation" }},
	{"peer-asleep", "bravo is asleep", func(n []api.DoctorNode) { n[1].State = "asleep" }},
}

func TestTogether(t *testing.T) {
	for _, c := range togetherCases {
		t.Run(c.name+" "+c.word, func(t *testing.T) {
			nodes := pair()
			c.make(nodes)
			bad := slices.DeleteFunc(Together(nodes), func(x api.Finding) bool { return x.Level == api.Fine })
			if len(bad) != 1 || bad[0].Name != c.name || !strings.Contains(bad[0].What, c.word) || bad[0].Why == "" || bad[0].Fix == "" {
				t.Errorf("found %+v", bad)
			}
		})
	}
}

func TestTogetherFine(t *testing.T) {
	for name, change := range map[string]func([]api.DoctorNode){
		"as it should be":                   func([]api.DoctorNode) {},
		"shut both ways is each host's own": func(n []api.DoctorNode) { n[0].Reached[2].Result, n[1].Reached[2].Result = reachSilent, reachSilent },
		"the service moved meanwhile":       func(n []api.DoctorNode) { n[1].Heard[0].MACs, n[1].Holds = nil, n[0].Holds },
		"it did not ask":                    func(n []api.DoctorNode) { n[1].Heard = nil },
		"it reaches nothing of the holder":  func(n []api.DoctorNode) { n[1].Heard[0].MACs, n[1].Reached = nil, nil },
		"a second MAC is heard": func(n []api.DoctorNode) {
			n[0].SecondMAC, n[1].SecondMAC = secondHeld, secondSent
			n[0].Frames = []api.DoctorFrames{{From: "bravo", Own: 9, Test: 1}}
		},
		"clocks within the time of an answer": func(n []api.DoctorNode) { n[1].Off = api.Duration(2 * time.Second) },
	} {
		nodes := pair()
		change(nodes)
		got := Together(nodes)
		if len(got) != 4 || slices.ContainsFunc(got, func(x api.Finding) bool { return x.Level != api.Fine }) {
			t.Errorf("%s: found %+v", name, got)
		}
	}
	if got := Together(pair()[:1]); len(got) != 0 {
		t.Errorf("one node alone: %+v", got)
	}
}

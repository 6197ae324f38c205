package fsm

import (
	"strings"
	"testing"
)

// A witness is a record of format 2, always on, and no target of a service; one that becomes a witness is let be.
func TestWitnesses(t *testing.T) {
	s := world(t)
	w := testWitness("w")
	if got := FormatOf(PutNode{Node: w}); got != 2 {
		t.Errorf("a witness is written in format %d, which version 0.1 would take for any host", got)
	}
	if got := FormatOf(PutNode{Node: testNode("w", AlwaysOn)}); got != 1 {
		t.Errorf("any host is written in format %d", got)
	}
	with, res := Apply(s, 100, PutNode{Node: w, At: at(50)})
	if res.Refused != "" || with.Nodes["w"].Role != Witness {
		t.Fatalf("%+v, %+v", res, with.Nodes["w"])
	}
	if b := bytesOf(t, with); b[3] != 2 {
		t.Errorf("the state is written in format %d", b[3])
	}
	sv := testService("photos", 210)
	sv.Targets = []string{"a", "w"}
	if _, res := Apply(with, 101, PutService{Service: sv, At: at(51)}); res.Refused != Invalid || !strings.Contains(res.Message, "its target w is a witness") {
		t.Errorf("a witness as a target: %+v", res)
	}
	for _, bad := range []Node{{Role: "judge", Policy: AlwaysOn}, {Role: Witness, Policy: Sleeps}} {
		n := testNode("x", bad.Policy)
		n.Role = bad.Role
		if _, res := Apply(s, 100, PutNode{Node: n, At: at(50)}); res.Refused != Invalid {
			t.Errorf("role %q with policy %s: %+v", bad.Role, bad.Policy, res)
		}
	}
	plain := w
	plain.Role = Member
	if back, res := Apply(with, 101, PutNode{Node: plain, At: at(51)}); res.Refused != "" || back.Nodes["w"].Role != Member {
		t.Errorf("it is to be no witness any more: %+v, %+v", res, back.Nodes["w"])
	}
}

package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnswersHaveNoNull(t *testing.T) {
	nodes := []NodeStatus{{Name: "a"}}
	for _, v := range []any{
		Status{Services: []ServiceStatus{{}}, Nodes: nodes}, []Service(nil), History{}, Applied{}, Moved{}, PowerChange{}, Version{}, none{},
	} {
		b, err := marshal(v)
		if err != nil || strings.Contains(string(b), "null") {
			t.Errorf("%T gives %s, %v", v, b, err)
		}
	}
	if nodes[0].Wake != nil {
		t.Error("the caller's own value was changed")
	}
}

func TestMarshalChangesNothingElse(t *testing.T) {
	v := Status{
		Problems: []string{"x"}, Troubles: []Trouble{}, LAN: LAN{Interface: "eth0"},
		Services: []ServiceStatus{{Service: web, Lease: Lease{Refused: []Refusal{}}, Fence: Fence{Limits: []string{}}, Health: []TargetHealth{}, Waiting: Waiting{Shut: []string{}}}},
	}
	got, err := marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	v.Quorum.Voters, v.Quorum.Awake, v.Nodes = []string{}, []string{}, []NodeStatus{}
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Replace(string(want), `"prefixes":null`, `"prefixes":[]`, 1), string(got)); diff != "" {
		t.Error(diff)
	}
}

package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// duo is a cluster of two hosts, a and b, with services on them: "aab" is two on a and one on b.
func duo(nodes, owners string) View {
	v := world{nodes: nodes}.view()
	v.State.Services, v.State.Ownerships = map[string]fsm.Service{}, map[string]fsm.Ownership{}
	for i, owner := range owners {
		name := fmt.Sprintf("s%d", i)
		v.State.Services[name] = fsm.Service{Name: name}
		v.State.Ownerships[name] = fsm.Ownership{Owner: string(owner), Epoch: 1}
	}
	return v
}

func TestTheSingleVoteFollowsTheServices(t *testing.T) {
	tests := []struct{ name, nodes, owners, voters, want, follows string }{
		{"it is where the service is", "a:awake b:awake", "a", "a", "a", ""},
		{"it goes after it", "a:awake b:awake", "b", "a", "b", "b"},
		{"most count", "a:awake b:awake", "abb", "a", "b", "b"},
		{"as many: it stays", "a:awake b:awake", "ab", "b", "b", ""},
		{"as many: rather with who is always on", "a:awake b:awake!sleeper", "ab", "b", "a", "a"},
		{"no services: it stays", "a:awake b:awake", "", "b", "b", ""},
		{"who holds is about to sleep", "a:awake b:suspending!sleeper", "b", "b", "a", ""},
		{"who holds is not there", "a:awake b:off", "b", "b", "a", ""},
		{"who holds is drained", "a:awake b:awake!maint", "b", "b", "a", ""},
		{"half way, and the service came back", "a:awake b:awake!sleeper", "b", "a b", "b", ""},
		{"a witness beside one host", "a:awake!witness b:awake", "b", "a", "b", "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := duo(tt.nodes, tt.owners)
			if got := WantedVoters(v.State, strings.Fields(tt.voters)); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("wanted %v, want %s", got, tt.want)
			}
			servers := serverSet(tt.voters)
			for _, n := range []string{"a", "b"} {
				if !strings.Contains(tt.voters, n) {
					servers = append(servers, raft.Server{Suffrage: raft.Nonvoter, ID: raft.ServerID(n)})
				}
			}
			if got := VoteFollows(v.State, servers); got != tt.follows {
				t.Errorf("it is said to follow to %q, want %q", got, tt.follows)
			}
		})
	}
}

// TestTheVoteMovesBeforeTheSleep is the order of the protocol: both vote, the heir leads, the other's vote goes, and only then may it suspend.
func TestTheVoteMovesBeforeTheSleep(t *testing.T) {
	v := duo("a:awake b:suspending!sleeper", "b")
	servers := serverSet("a? b")
	casts := map[string]bool{"a": v.Casts("a"), "b": v.Casts("b")}
	if err := MaySuspend(v, servers, "b"); err == nil {
		t.Error("the single voter may suspend")
	}
	step, ok := NextStep(v.State, servers, casts)
	if !ok || step != (Step{AddVoter, "a"}) {
		t.Fatalf("the first step is %v, %v", step, ok)
	}
	servers = carryOut(servers, step)
	if err := MaySuspend(v, servers, "b"); err == nil {
		t.Error("one of two voters may suspend")
	}
	v.State.Ownerships["s0"] = fsm.Ownership{Owner: "a", Epoch: 2}
	step, ok = NextStep(v.State, servers, casts)
	if !ok || step != (Step{DemoteVoter, "b"}) {
		t.Fatalf("the second step is %v, %v", step, ok)
	}
	if to, first := step.LeadFirst("b", v.State, Voters(servers), casts); to != "a" || !first {
		t.Errorf("who leads first is %q, %v", to, first)
	}
	if _, first := step.LeadFirst("a", v.State, Voters(servers), casts); first {
		t.Error("the heir is to pass the lead on")
	}
	servers = carryOut(servers, step)
	if err := MaySuspend(v, servers, "b"); err != nil {
		t.Errorf("who has no vote may not suspend: %v", err)
	}
	if _, more := NextStep(v.State, servers, casts); more {
		t.Error("there is more to do")
	}
}

// TestNobodyIsAddedWhoDoesNotCast: with the other host gone the vote does not move, in no direction.
func TestNobodyIsAddedWhoDoesNotCast(t *testing.T) {
	v := duo("a:awake!dead b:suspending!sleeper", "b")
	casts := map[string]bool{"a": v.Casts("a"), "b": v.Casts("b")}
	for _, servers := range []string{"a? b", "a b"} {
		if step, ok := NextStep(v.State, serverSet(servers), casts); ok {
			t.Errorf("with %s: %v", servers, step)
		}
	}
}

// TestTheVoteOfADrainedHostLeaves: of two hosts it is on its way until the other one votes alone, unless that one cannot take it.
func TestTheVoteOfADrainedHostLeaves(t *testing.T) {
	tests := []struct {
		name, nodes, servers string
		want                 bool
	}{
		{"not begun", "a:awake b:awake!maint", "a? b", true},
		{"both vote", "a:awake b:awake!maint", "a b", true},
		{"moved", "a:awake b:awake!maint", "a b?", false},
		{"it was elsewhere", "a:awake b:awake!maint", "a", false},
		{"the other is dead", "a:awake!dead b:awake!maint", "a? b", false},
		{"the other died half way", "a:awake!dead b:awake!maint", "a b", false},
		{"the other sleeps", "a:asleep b:awake!maint", "a? b", false},
		{"both are drained", "a:awake!maint b:awake!maint", "a? b", false},
		{"three hosts", "a:awake b:awake!maint c:awake", "a b c", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := VoteLeaves(duo(tt.nodes, ""), serverSet(tt.servers), "b"); got != tt.want {
				t.Errorf("it leaves: %v", got)
			}
		})
	}
}

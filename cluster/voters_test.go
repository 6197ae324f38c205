package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"nightporter/fsm"
)

// nodeSet reads "a b c:s d:off": always-on unless marked as a sleeper or off.
func nodeSet(s string) map[string]fsm.Node {
	out := make(map[string]fsm.Node)
	for _, w := range strings.Fields(s) {
		name, flag, _ := strings.Cut(w, ":")
		n := fsm.Node{Name: name, Policy: fsm.AlwaysOn, Power: fsm.Awake}
		switch flag {
		case "s":
			n.Policy = fsm.Sleeps
		case "off":
			n.Power = fsm.Off
		case "w":
			n.Role = fsm.Witness
		}
		out[name] = n
	}
	return out
}

// serverSet reads "a b c?": voters, non-voters marked with a question mark.
func serverSet(s string) []raft.Server {
	var out []raft.Server
	for _, w := range strings.Fields(s) {
		sv := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(strings.TrimSuffix(w, "?"))}
		if strings.HasSuffix(w, "?") {
			sv.Suffrage = raft.Nonvoter
		}
		out = append(out, sv)
	}
	return out
}

func TestWantedVoters(t *testing.T) {
	tests := []struct{ nodes, voters, want string }{
		{"a", "", "a"},
		{"a b", "", "a"},
		{"a b", "b", "b"},
		{"a b c", "", "a b c"},
		{"a b c:s", "", "a b c:s"},
		{"a b c d:s", "", "a b c"},
		{"a:s b c d", "", "b c d"},
		{"a b c d e", "", "a b c d e"},
		{"a b c d e f g", "g", "a b c d g"},
		{"a b c d", "d", "a b d"},
		{"a b:off c d", "a b c", "a c d"},
		{"a b:off c", "a b c", "a b c"},
		{"a b:s c:s d:s", "", "a b c"},
		{"a b:s w:w", "", "a b w"},
		{"a b:s c:s w:w", "", "a b w"},
		{"b:s c:s d:s w:w", "c d", "c d w"},
		{"a b c d e f w:w", "a b c d e", "a b c d w"},
		{"a b c:s w:w", "", "a b w"},
	}
	for _, tt := range tests {
		want := strings.Fields(strings.ReplaceAll(tt.want, ":s", ""))
		if got := WantedVoters(&fsm.State{Nodes: nodeSet(tt.nodes)}, strings.Fields(tt.voters)); !slices.Equal(got, want) {
			t.Errorf("WantedVoters(%q, voters %q) = %v, want %v", tt.nodes, tt.voters, got, want)
		}
	}
}

func TestNextStep(t *testing.T) {
	tests := []struct{ name, nodes, servers, answers, want string }{
		{"nothing to do", "a b c", "a b c", "a b c", ""},
		{"a new node comes in without a vote", "a b c d:s", "a b c", "a b c d", "add-nonvoter d"},
		{"a second and third voter come one by one", "a b c", "a b? c?", "a b c", "add-voter b"},
		{"a voter that does not answer is not added", "a b c", "a b? c?", "a c", "add-voter c"},
		{"not where the new majority would not answer", "a b c", "a b? c?", "a", ""},
		{"a surplus voter is demoted last", "a b c d:s", "a b c d", "a b c d", "demote d"},
		{"not before its successor votes", "a b c:off d", "a b c d?", "a b d", "add-voter d"},
		{"then the dead one", "a b c:off d", "a b c d", "a b d", "demote c"},
		{"a forgotten voter is removed by the one that is left", "a b", "a b? c", "a b", "remove c"},
		{"a forgotten non-voter is removed", "a b", "a b? c?", "a b", "remove c"},
		{"a forgotten voter is removed while the rest answers", "a b c", "a b c d", "a b c", "remove d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answers := make(map[string]bool)
			for _, a := range strings.Fields(tt.answers) {
				answers[a] = true
			}
			got := ""
			if s, ok := NextStep(&fsm.State{Nodes: nodeSet(tt.nodes)}, serverSet(tt.servers), answers); ok {
				got = string(s.Verb) + " " + s.Node
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestStepsReachTheWantedSet: with everybody answering, single steps lead from any configuration to the wanted one, and
// a majority answers at each.
func TestStepsReachTheWantedSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := []string{"a", "b", "c", "d", "e", "f"}
		nodes, answers := map[string]fsm.Node{}, map[string]bool{}
		for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 6, rapid.ID).Draw(t, "nodes") {
			nodes[n] = fsm.Node{Name: n, Power: fsm.Awake, Policy: rapid.SampledFrom([]fsm.Policy{fsm.AlwaysOn, fsm.Sleeps}).Draw(t, "policy")}
			answers[n] = true
		}
		var servers []raft.Server
		voters := 0
		for n := range nodes {
			s := raft.Server{ID: raft.ServerID(n), Suffrage: rapid.SampledFrom([]raft.ServerSuffrage{raft.Voter, raft.Nonvoter}).Draw(t, "suffrage")}
			if s.Suffrage == raft.Voter {
				voters++
			}
			servers = append(servers, s)
		}
		if voters == 0 {
			servers[0].Suffrage = raft.Voter
		}
		state := &fsm.State{Nodes: nodes}
		for range 20 {
			step, ok := NextStep(state, servers, answers)
			if !ok {
				if got, want := Voters(servers), WantedVoters(state, Voters(servers)); !slices.Equal(got, want) {
					t.Fatalf("stopped at %v, wanted %v", got, want)
				}
				return
			}
			servers = carryOut(servers, step)
		}
		t.Fatal("does not end")
	})
}

// TestNoLeaderTakesItsOwnVote: another voter leads first, one that is to stay if there is one.
func TestNoLeaderTakesItsOwnVote(t *testing.T) {
	tests := []struct {
		name, nodes, servers string
		step                 Step
		answers              string
		to                   string
		first                bool
	}{
		{"another's vote", "a:awake b:awake", "a b", Step{DemoteVoter, "b"}, "a b", "", false},
		{"its own", "a:awake b:awake", "a b", Step{DemoteVoter, "a"}, "a b", "b", true},
		{"its own, after it left", "b:awake c:awake d:awake", "a b c", Step{RemoveServer, "a"}, "a b c", "b", true},
		{"nobody answers", "a:awake b:awake", "a b", Step{DemoteVoter, "a"}, "a", "", true},
		{"one that stays", "b:awake!sleeper c:awake", "a b c", Step{RemoveServer, "a"}, "a b c", "c", true},
		{"it has no vote", "a:awake b:awake", "a? b", Step{RemoveServer, "a"}, "a b", "", false},
		{"it gets a vote", "a:awake b:awake", "a? b", Step{AddVoter, "a"}, "a b", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answers := make(map[string]bool)
			for _, n := range strings.Fields(tt.answers) {
				answers[n] = true
			}
			to, first := tt.step.LeadFirst("a", world{nodes: tt.nodes}.view().State, Voters(serverSet(tt.servers)), answers)
			if to != tt.to || first != tt.first {
				t.Errorf("got %q, %v, want %q, %v", to, first, tt.to, tt.first)
			}
		})
	}
}

func carryOut(servers []raft.Server, s Step) []raft.Server {
	out := slices.DeleteFunc(slices.Clone(servers), func(x raft.Server) bool { return string(x.ID) == s.Node })
	switch s.Verb {
	case AddVoter:
		out = append(out, raft.Server{ID: raft.ServerID(s.Node), Suffrage: raft.Voter})
	case AddNonvoter, DemoteVoter:
		out = append(out, raft.Server{ID: raft.ServerID(s.Node), Suffrage: raft.Nonvoter})
	}
	return out
}

func TestMayRest(t *testing.T) {
	tests := []struct{ name, nodes, servers, node, want string }{
		{"a non-voter may", "a:awake b:awake c:awake d:awake!sleeper", "a b c d?", "d", ""},
		{"a voter of three may while the others are awake", "a:awake b:awake c:awake", "a b c", "c", ""},
		{"not a second one", "a:awake b:asleep c:awake", "a b c", "c", "fewer than the 2"},
		{"the single voter of two, while the other could take its vote", "a:awake b:awake", "a b?", "a", ""},
		{"not while the other is away", "a:awake b:awake!dead", "a b?", "a", "is not awake and in touch: wake or start it first"},
		{"not while the other sleeps", "a:awake b:asleep", "a b?", "a", "only voter"},
		{"not the only voter of three", "a:awake b:awake c:awake", "a b? c?", "a", "another host that votes beside it"},
		{"a witness votes in its place", "a:awake b:awake c:awake!witness", "a b c", "b", ""},
		{"and holds nothing", "a:awake!dead b:awake c:awake!witness d:awake!dead", "a? b? c d?", "b", "no other awake host"},
		{"not when nobody else could hold its service", "a:awake!maint b:awake", "a b?", "b", "no other awake host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := world{nodes: tt.nodes, targets: []string{tt.node}, owner: tt.node, epoch: 1}.view()
			err := MayRest(v, serverSet(tt.servers), tt.node)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want a refusal with %q", err, tt.want)
			}
		})
	}
}

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
		{"a voter that does not answer is not added, nor another one instead: two are worse than one", "a b c", "a b? c?", "a c", ""},
		{"nor by a witness, while the other host sleeps", "a b:s w:w", "a b? w?", "a w", ""},
		{"both by and by once that is awake", "a b:s w:w", "a b? w?", "a b w", "add-voter b"},
		{"then the second", "a b:s w:w", "a b w?", "a b w", "add-voter w"},
		{"of two voters that there are already the third one makes three", "a b w:w", "a b? w", "a b w", "add-voter b"},
		{"not a fourth alone", "a b c d e", "a b c d? e?", "a b c d", ""},
		{"a fourth and a fifth", "a b c d e", "a b c d? e?", "a b c d e", "add-voter d"},
		{"one of two that answer where a third one does not", "a b c d e", "a b c? d? e?", "a b c d", "add-voter c"},
		{"not in the place of a sleeper while it does not answer", "a b c:s d e", "a b c d? e?", "a b c e", ""},
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

// A sleeper is awaited for its vote only while there are fewer than three voters, and it would get that.
func TestAwaitedVoter(t *testing.T) {
	tests := []struct{ name, nodes, servers, want string }{
		{"a witness joins two hosts of which one sleeps", "a:awake b:asleep!sleeper w:awake!witness", "a b? w?", "b"},
		{"and has its vote already", "a:awake b:asleep!sleeper w:awake!witness", "a b? w", "b"},
		{"two hosts have one vote", "a:awake b:asleep!sleeper", "a b?", ""},
		{"all vote", "a:awake b:asleep!sleeper w:awake!witness", "a b w", ""},
		{"it is awake, and will get its vote", "a:awake b:awake!sleeper w:awake!witness", "a b? w?", ""},
		{"no vote is meant for it", "a:awake b:awake c:awake d:asleep!sleeper", "a b? c? d?", ""},
		{"three are enough to wait", "a:awake b:awake c:awake d:asleep!sleeper e:awake!sleeper", "a b c d? e?", ""},
		{"it would be the second voter alone: the witness is off", "a:awake b:asleep!sleeper w:off!witness", "a b? w?", ""},
		{"so is the third host", "a:awake b:asleep!sleeper c:off", "a b? c?", ""},
		{"it was called in vain", "a:awake b:asleep!sleeper c:asleep!gaveup", "a b? c?", ""},
		{"it is out of touch", "a:awake b:asleep!sleeper c:awake!dead", "a b? c?", ""},
		{"it sleeps as well", "a:awake b:asleep!sleeper c:asleep!sleeper", "a b? c?", "b"},
		{"both are to come up, and the first is called", "a:awake b:waking!sleeper c:asleep!sleeper", "a b? c?", "c"},
		{"the second voter is off, and has its vote", "a:awake b:asleep!sleeper w:off!witness", "a b? w", "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := world{nodes: tt.nodes}.view()
			if got := AwaitedVoter(v, serverSet(tt.servers)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.want == "" {
				return
			}
			n := v.State.Nodes[tt.want]
			n.PowerReason = fsm.GaveUp
			v.State.Nodes[tt.want] = n
			if got := AwaitedVoter(v, serverSet(tt.servers)); got != "" {
				t.Errorf("%s was called in vain, and %q is awaited", tt.want, got)
			}
		})
	}
}

// TestWhoIsAwaitedGetsItsVote: once everybody who is called is up. Who came up for nothing would sleep, and be called again.
func TestWhoIsAwaitedGetsItsVote(t *testing.T) {
	powers := []string{"awake", "awake!dead", "awake!sleeper", "asleep!sleeper", "asleep!gaveup", "asleep!maint", "asleep", "waking!sleeper", "off", "awake!witness", "off!witness"}
	called := 0
	rapid.Check(t, func(t *rapid.T) {
		nodes, set := "a:awake", "a"
		for _, name := range []string{"b", "c", "d", "e"}[:rapid.IntRange(1, 4).Draw(t, "others")] {
			nodes += " " + name + ":" + rapid.SampledFrom(powers).Draw(t, name)
			set += " " + name + "?"
		}
		v, servers := world{nodes: nodes}.view(), serverSet(set)
		woken := make(map[string]bool)
		for {
			name := AwaitedVoter(v, servers)
			if name == "" {
				break
			}
			if woken[name] {
				t.Fatalf("%s, servers %s: %s is awake, and awaited", nodes, set, name)
			}
			woken[name] = true
			called++
			wakeUp(v, name)
		}
		for name, n := range v.State.Nodes {
			if n.Power == fsm.Waking {
				wakeUp(v, name)
			}
		}
		for {
			answers := make(map[string]bool)
			for name := range v.Present {
				answers[name] = v.Casts(name)
			}
			step, ok := NextStep(v.State, servers, answers)
			if !ok {
				break
			}
			servers = carryOut(servers, step)
		}
		for name := range woken {
			if !slices.Contains(Voters(servers), name) {
				t.Fatalf("%s: %s was called, and the voters are %v", nodes, name, Voters(servers))
			}
		}
	})
	if called == 0 {
		t.Error("nobody was ever called")
	}
}

// wakeUp writes down that a host is up.
func wakeUp(v View, name string) {
	n, p := v.State.Nodes[name], v.Present[name]
	n.Power, p.Alive = fsm.Awake, true
	v.State.Nodes[name], v.Present[name] = n, p
}

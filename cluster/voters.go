package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// MaxVoters bounds the voters: more of them cost time for each commit and survive nothing that matters at home.
const MaxVoters = 5

// WantedVoters is the set of voters that a cluster in this state should have: odd, at most MaxVoters, witnesses and always-on hosts
// first, present voters before others of the same kind (a change costs a wait, so none is made for its own sake). With
// three of these or more, no sleeper votes. Two hosts have one vote between them, which follows the services (singleVoter). It is a pure
// function of the records, of who owns what, and of today's voters.
func WantedVoters(state *fsm.State, voters []string) []string {
	nodes := state.Nodes
	if len(nodes) == 2 {
		return []string{singleVoter(state, voters)}
	}
	names := slices.Collect(maps.Keys(nodes))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(
			cmp.Compare(voteRank(nodes[a]), voteRank(nodes[b])),
			cmp.Compare(notIn(voters, a), notIn(voters, b)),
			cmp.Compare(a, b),
		)
	})
	size := min(len(names), MaxVoters)
	steady := 0
	for _, n := range names {
		if voteRank(nodes[n]) <= rankSteady {
			steady++
		}
	}
	if steady >= 3 {
		size = min(steady, MaxVoters)
	}
	if size%2 == 0 {
		size--
	}
	if size <= 0 {
		return nil
	}
	wanted := names[:size]
	slices.Sort(wanted)
	return wanted
}

// The order in which nodes are given votes. Those up to rankSteady are there all the time.
const (
	rankWitness = iota
	rankSteady
	rankSleeper
	rankGone // added for nodes that are off, or in maintenance
)

func voteRank(n fsm.Node) int {
	r := rankSleeper
	switch {
	case n.Role == fsm.Witness:
		r = rankWitness
	case n.Policy == fsm.AlwaysOn:
		r = rankSteady
	}
	if n.Power == fsm.Off || n.Maintenance {
		r += rankGone
	}
	return r
}

func notIn(set []string, name string) int {
	if slices.Contains(set, name) {
		return 0
	}
	return 1
}

// Voters lists the voters of a configuration.
func Voters(servers []raft.Server) []string {
	var v []string
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			v = append(v, string(s.ID))
		}
	}
	slices.Sort(v)
	return v
}

// Step is one change of the Raft configuration.
type Step struct {
	Verb StepVerb
	Node string
}

// StepVerb is the kind of a configuration change.
type StepVerb string

// The four changes, in the order in which NextStep prefers them.
const (
	RemoveServer StepVerb = "remove"
	AddNonvoter  StepVerb = "add-nonvoter"
	AddVoter     StepVerb = "add-voter"
	DemoteVoter  StepVerb = "demote"
)

// NextStep gives the one change that brings the configuration nearer to what the records want, or false. One server
// changes at a time, and never so that the voters that are awake and in touch are fewer than a majority of the new
// voters (an uncommitted change blocks every renewal). answers says which nodes would vote now.
func NextStep(state *fsm.State, servers []raft.Server, answers map[string]bool) (Step, bool) {
	nodes, voters := state.Nodes, Voters(servers)
	wanted := WantedVoters(state, voters)
	var steps []Step
	for _, s := range servers {
		if _, known := nodes[string(s.ID)]; !known {
			steps = append(steps, Step{RemoveServer, string(s.ID)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		if !slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == name }) {
			steps = append(steps, Step{AddNonvoter, name})
		}
	}
	for _, name := range newcomers(voters, wanted, answers) {
		steps = append(steps, Step{AddVoter, name})
	}
	for _, name := range voters {
		_, known := nodes[name]
		if known && !slices.Contains(wanted, name) && allIn(voters, wanted) {
			steps = append(steps, Step{DemoteVoter, name})
		}
	}
	for _, s := range steps {
		if s.safe(voters, answers) {
			return s, true
		}
	}
	return Step{}, false
}

// newcomers are the voters-to-be that answer, without the last of them where the voters would then be an even number, and stay so because
// another one does not answer: one voter more that the majority needs, and none that it can do without. Of two voters either one's death
// stops everything, of one voter only its own.
func newcomers(voters, wanted []string, answers map[string]bool) []string {
	var out []string
	missing := false
	for _, name := range wanted {
		switch {
		case slices.Contains(voters, name):
		case answers[name]:
			out = append(out, name)
		default:
			missing = true
		}
	}
	if missing && len(out) > 0 && (len(voters)+len(out))%2 == 0 {
		return out[:len(out)-1]
	}
	return out
}

// AwaitedVoter is the sleeping host, if there is one, without whose vote the cluster cannot have the three voters that it should: it is to be
// called. A witness that joins two hosts of which one sleeps is such a case. One that was called in vain is not awaited, nor is anybody
// who would get no vote though all that can be called came up: it would sleep again, and be called again, for ever.
func AwaitedVoter(v View, servers []raft.Server) string {
	voters := Voters(servers)
	wanted := WantedVoters(v.State, voters)
	if len(voters) >= 3 || len(wanted) < 3 {
		return ""
	}
	answers := make(map[string]bool)
	for name, n := range v.State.Nodes {
		answers[name] = v.Casts(name) || comesUp(n)
	}
	for _, name := range newcomers(voters, wanted, answers) {
		if n := v.State.Nodes[name]; n.Power == fsm.Asleep && comesUp(n) {
			return name
		}
	}
	return ""
}

// comesUp says whether a host can be expected to be up after a call, or is being called.
func comesUp(n fsm.Node) bool {
	return (n.Power == fsm.Asleep || n.Power == fsm.Waking) && n.PowerReason != fsm.GaveUp && !n.Maintenance
}

// LeadFirst gives who must lead before a step that takes the leader's own vote away, "" while nobody can; false: the step can be
// taken as it is. The entry of such a step counts in a configuration without the leader. If the leader loses the lead before
// anybody else has that entry, it may not stand for election any more (hashicorp/raft: a non-voter does not), and denies its
// vote, which the former configuration may need, to everybody whose log lacks the entry: then nobody is ever elected.
func (s Step) LeadFirst(self string, state *fsm.State, voters []string, answers map[string]bool) (string, bool) {
	if s.Node != self || (s.Verb != RemoveServer && s.Verb != DemoteVoter) || !slices.Contains(voters, self) {
		return "", false
	}
	wanted := WantedVoters(state, voters)
	best := ""
	for _, name := range voters {
		if name != self && answers[name] && (best == "" || notIn(wanted, name) < notIn(wanted, best)) {
			best = name
		}
	}
	return best, true
}

// allIn says whether every wanted voter votes already: only then is a surplus one demoted.
func allIn(voters, wanted []string) bool {
	for _, w := range wanted {
		if !slices.Contains(voters, w) {
			return false
		}
	}
	return true
}

// safe says whether a majority of the voters after the step would answer.
func (s Step) safe(voters []string, answers map[string]bool) bool {
	after := slices.Clone(voters)
	switch s.Verb {
	case AddNonvoter:
	case AddVoter:
		after = append(after, s.Node)
	default:
		after = slices.DeleteFunc(after, func(v string) bool { return v == s.Node })
	}
	n := 0
	for _, v := range after {
		if answers[v] {
			n++
		}
	}
	return len(after) > 0 && n >= len(after)/2+1
}

// MayRest says whether a node may begin to suspend: without taking the awake voters below a majority of the voters (I8), and with
// somebody else to hold each of its services. Where it has the single vote of two hosts, the other one must be able to take that: it
// moves before the suspend (MaySuspend). The error is the sentence for the operator.
func MayRest(v View, servers []raft.Server, node string) error {
	if voters := Voters(servers); len(voters) == 1 && voters[0] == node {
		if err := v.mayPassVote(node); err != nil {
			return err
		}
	} else if err := v.votesWithout(voters, node); err != nil {
		return err
	}
	load := v.load()
	for _, name := range slices.Sorted(maps.Keys(v.State.Services)) {
		if v.State.Ownerships[name].Owner == node && v.candidate(v.State.Services[name], node, load) == "" {
			return fmt.Errorf("no other awake host could hold service %s while %s sleeps", name, node)
		}
	}
	return nil
}

// MaySuspend says whether a node that has handed everything over may suspend now: the voters that stay awake are a majority of the
// voters as they are (I8).
func MaySuspend(v View, servers []raft.Server, node string) error {
	return v.votesWithout(Voters(servers), node)
}

// votesWithout says whether the awake voters are a majority without a node.
func (v View) votesWithout(voters []string, node string) error {
	if !slices.Contains(voters, node) {
		return nil
	}
	need := len(voters)/2 + 1
	var awake []string
	for _, name := range voters {
		if name != node && v.answers(name) {
			awake = append(awake, name)
		}
	}
	if len(awake) < need {
		return fmt.Errorf("the voters that stay awake (%s) would be fewer than the %d that a majority of %d needs", orNone(awake), need, len(voters))
	}
	return nil
}

// MayLeave says whether a node may be taken out of the cluster for good: the other voters must be a working majority
// of what is left.
func MayLeave(v View, servers []raft.Server, node string) error {
	voters := Voters(servers)
	if !slices.Contains(voters, node) {
		return nil
	}
	answers := make(map[string]bool)
	for name := range v.Present {
		answers[name] = name != node && v.answers(name)
	}
	if len(voters) == 1 {
		return fmt.Errorf("%s is the only voter: if it leaves, the cluster ends; stop its agent instead, or let another host vote first (of two hosts the one votes that holds the services: `nightporter move`; a third one makes it three)", node)
	}
	if !(Step{RemoveServer, node}).safe(voters, answers) {
		return fmt.Errorf("the other voters that are awake and in touch are no majority of what would be left")
	}
	return nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

package fsm

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawCommand gives commands of every kind that are likely to be done: most plan from the current state.
func drawCommand(t *rapid.T, s *State, n int) Command {
	service := rapid.SampledFrom([]string{"web", "db"}).Draw(t, "service")
	node := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "node")
	planned := s.Ownerships[service].Epoch
	if rapid.IntRange(0, 3).Draw(t, "stale") == 0 {
		planned = rapid.Uint64Range(0, planned+2).Draw(t, "planned")
	}
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return Found{Cluster: Cluster{ID: testID, Name: "home"}, Failover: FailoverMax, Services: []Service{testService(service, 200)}}
	case 1:
		return PutNode{Node: testNode(node, Sleeps), At: at(n)}
	case 2:
		return RemoveNode{Name: node, At: at(n)}
	case 3:
		from := s.Nodes[node].Power
		to := rapid.SampledFrom([]Power{Awake, Suspending, Asleep, Waking, Off}).Draw(t, "to")
		return SetPower{Node: node, From: from, To: to, Sleeps: s.Nodes[node].Sleeps, At: at(n)}
	case 4, 5:
		return PutService{Service: testService(service, byte(rapid.IntRange(200, 203).Draw(t, "ip0"))), At: at(n)}
	case 6:
		return DeleteService{Name: service, At: at(n)}
	case 7:
		return BeginWake{Wake{ID: fmt.Sprint(n % 7), Node: node, Started: at(n)}}
	case 8:
		return EndWake{ID: fmt.Sprint(n % 7), At: at(n)}
	default:
		owner := rapid.SampledFrom([]string{node, ""}).Draw(t, "owner")
		return Assign{Service: service, Owner: owner, Planned: planned, Reason: OperatorMoved, At: at(n)}
	}
}

// I9: over deletes, redefinitions, snapshots and restores a service's epoch never falls, and each change of owner
// has an epoch of its own. Along the way: no state is changed after it was published, and two services never share
// an identity (I1).
func TestEpochsNeverFallOrRepeat(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := play(t, nil, 1, history()...)
		type published struct {
			state *State
			bytes []byte
		}
		var past []published
		used := map[string]bool{"web/1": true}
		for n := range rapid.IntRange(1, 60).Draw(rt, "length") {
			past = append(past, published{s, bytesOf(t, s)})
			if rapid.IntRange(0, 5).Draw(rt, "restore") == 0 {
				back, err := DecodeState(bytesOf(t, s))
				if err != nil {
					rt.Fatal(err)
				}
				s = back
			}
			c := drawCommand(rt, s, n)
			next, res := Apply(s, uint64(100+n), c)
			if res.Refused != "" && next != s {
				rt.Fatalf("%+v is refused (%s) and changes something", c, res.Refused)
			}
			for _, name := range []string{"web", "db"} {
				was, is := s.Ownerships[name], next.Ownerships[name]
				if is.Epoch < was.Epoch || is.Epoch == was.Epoch && is != was {
					rt.Fatalf("%+v turns %+v into %+v", c, was, is)
				}
				key := fmt.Sprint(name, "/", is.Epoch)
				if is.Epoch != was.Epoch && used[key] {
					rt.Fatalf("%s is used twice", key)
				}
				used[key] = true
			}
			noSharedIdentity(rt, next)
			s = next
		}
		for i, p := range past {
			if string(bytesOf(t, p.state)) != string(p.bytes) {
				rt.Fatalf("state %d was changed after it was published", i)
			}
		}
	})
}

func noSharedIdentity(t *rapid.T, s *State) {
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		for _, a := range s.Services[name].Addresses {
			if other, taken := owner[a.String()]; taken {
				t.Fatalf("%s and %s both have %s", other, name, a)
			}
			owner[a.String()] = name
		}
	}
}

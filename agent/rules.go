package agent

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/fsm"
)

// powerRules are what would change a node's power state, as far as the log tells. A node that is awake adds when it sleeps (sleepRules).
func powerRules(state *fsm.State, n fsm.Node) []api.Rule {
	switch n.Power {
	case fsm.Awake:
		if n.Policy != fsm.Sleeps {
			return []api.Rule{{Sentence: "it never goes to sleep", Key: "power: always-on"}}
		}
		return []api.Rule{{Sentence: "somebody can put it to sleep", Key: "`nightporter sleep " + n.Name + "`"}}
	case fsm.Suspending:
		return []api.Rule{{Sentence: "a client that asks for one of its services before it sleeps calls it off, or wakes it right after", Key: "ports"}}
	case fsm.Waking:
		return []api.Rule{{Sentence: "it is called until it answers or the time is over", Key: "wake_timeout"}}
	case fsm.Off:
		return []api.Rule{
			{Sentence: "it counts as awake again when its agent is in touch", Key: "systemctl start nightporter"},
			{Sentence: "a client that asks for one of its services, or somebody by hand, calls it all the same", Key: "`nightporter wake " + n.Name + "`"},
			{Sentence: "a host that is gone for good is taken out", Key: "`nightporter forget " + n.Name + "`"},
		}
	}
	var out []api.Rule
	for _, name := range slices.Sorted(maps.Keys(state.Services)) {
		sv := state.Services[name]
		if !slices.Contains(sv.Targets, n.Name) || len(sv.Ports) == 0 || n.Maintenance {
			continue
		}
		others := ""
		if len(sv.Targets) > 1 {
			others = ", unless another target is awake or quicker up"
		}
		out = append(out, api.Rule{Sentence: fmt.Sprintf("a client that asks for %s at %s wakes it%s%s", name, portList(sv), others, whoMay(sv)), Key: "ports, targets, wake of " + name})
	}
	if len(n.Wake) == 0 {
		return append(out, api.Rule{Sentence: "nobody can call it: no wake address of it is known", Key: "wake: [MAC]"})
	}
	out = append(out, api.Rule{Sentence: "somebody can call it", Key: "`nightporter wake " + n.Name + "`"})
	return append(out, api.Rule{Sentence: "it is called when the cluster has lost the majority of its voters and needs it", Key: "quorum wake"})
}

// sleepRules are when a host that is awake goes to sleep by itself.
func sleepRules(w api.Why) []api.Rule {
	key := "idle: " + time.Duration(w.Idle).String()
	switch {
	case w.Idle == 0:
		return nil
	case !w.SleepsAt.IsZero():
		return []api.Rule{{Sentence: "it sleeps at " + stamp(w.SleepsAt) + " if nobody needs it until then", Key: key}}
	case w.State == "busy":
		return []api.Rule{{Sentence: fmt.Sprintf("it sleeps %s after the last use has ended", time.Duration(w.Idle)), Key: key}}
	case w.State == "held":
		return []api.Rule{{Sentence: "it sleeps as soon as nothing keeps it awake any more", Key: "stay_awake"}}
	}
	return nil
}

package agent

import (
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/internal/mutant"
	"nightporter/lease"
	"nightporter/wake"
)

// quorumLook is how often the quorum is looked at when nothing else happens.
const quorumLook = time.Second

// quorum wakes the sleeping voters when nobody can decide, or when a holder here finds no majority although there is a
// leader (a change of voters that is stuck). The leader also calls the sleeper whose vote the cluster waits for to have three. It returns since when there has been trouble; 0 = none.
func (w *waking) quorum(since lease.Boot) lease.Boot {
	v := w.scene.view()
	starved := w.tenants.starved(v.Now, 2*v.Timing.TTL)
	if mutant.On(mutant.NoQuorumWake) { // breaks I4 and I7
		return 0
	}
	if w.lineage.isSilent() {
		return 0
	}
	if name := cluster.AwaitedVoter(v, w.machine.View().Servers); name != "" && w.raft.IsLeader() && !w.calling(name) {
		w.begin(wake.Wake{ID: newID(), Node: name, Sleeps: v.State.Nodes[name].Sleeps, Cause: string(fsm.QuorumLost)})
	}
	if v.State.Cluster.ID == "" || (w.raft.Leader() != "" && !starved) || w.looking() {
		return 0
	}
	if since == 0 {
		since = v.Now
	}
	if !starved && v.Now.Sub(since) < 2*v.Timing.RaftHeartbeat {
		return since
	}
	for _, name := range cluster.Voters(w.machine.View().Servers) {
		if _, known := v.State.Nodes[name]; !known {
			continue // it has left, and is about to lose its vote: there is no address to call, and settle would end the call at once
		}
		// Gossip misses a sleeper only after a while; what counts is whether the voter is awake and in touch.
		if name == w.self || w.calling(name) {
			continue
		}
		if v.Present[name].Alive && v.State.Nodes[name].Power == fsm.Awake {
			w.nudge(name) // somebody may have closed its lid
			continue
		}
		w.begin(wake.Wake{ID: newID(), Node: name, Sleeps: v.State.Nodes[name].Sleeps, Cause: string(fsm.QuorumLost)})
	}
	return since
}

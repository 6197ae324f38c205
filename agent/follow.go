package agent

import (
	"time"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/lease"
)

// follow damps the moves of the single vote of two hosts: it follows the services when they have stayed with the other host for
// followAfter failovers (10 s by default). A move costs two configurations, an election and about twice ttl plus margin (1.5 s), in which
// both hosts must live. A host that wants to sleep is not waited for: its vote moves at once, as part of its sleep.
type follow struct {
	to    string
	since lease.Boot
}

const followAfter = 10

// early says whether the next change of the voters is only such a move, and not due yet.
func (f *follow) early(v cluster.View, servers []raft.Server) bool {
	to := cluster.VoteFollows(v.State, servers)
	if to != f.to {
		f.to, f.since = to, v.Now
	}
	return to != "" && v.Now.Sub(f.since) < followAfter*v.Timing.Failover
}

// voteMoves is how much longer the hand-over before a sleep may take where the single vote of two hosts moves with it: three waits of
// a lease, and an election.
func voteMoves(v cluster.View, servers []raft.Server, self string) time.Duration {
	voters := cluster.Voters(servers)
	if len(v.State.Nodes) != 2 || len(voters) == 0 || (len(voters) == 1 && voters[0] != self) {
		return 0
	}
	t := cluster.Derive(v.State.Timing.Largest)
	return 3*(t.TTL+t.Margin) + 2*t.Failover
}

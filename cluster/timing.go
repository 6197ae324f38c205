// Package cluster knows who is here and who should own what: gossip, the Raft node and its log, the transport
// between the nodes, and the pure functions that plan ownership and the set of voters.
package cluster

import (
	"time"

	"nightporter/lease"
)

// Timing is every duration that the one setting, failover, decides. docs/design.md has the same table.
//
// The budget of a crash: a holder's last renewal is on average Renew/2 old when it dies, so its lease runs out
// TTL - Renew/2 later; then one commit and one question to the voters. With TTL = 2/3 that leaves a third of failover
// for scheduling, disks and the network.
//
// hashicorp/raft sends a heartbeat every tenth of its timeout to each follower, each at an instant of its own; that would be
// most of what an idle leader costs, so they are paced (pace.go). A leader's death disturbs no holder. Only the crash of a
// host that both leads and holds waits for an election (1 to 2 RaftHeartbeat); the plan keeps the two apart where it can.
type Timing struct {
	Failover time.Duration

	TTL    time.Duration // how long a grant runs
	Margin time.Duration // taken off the holder's deadline, for clock rates
	Renew  time.Duration // between the rounds of a holder; it asks sooner when a round found no majority (agent/tenure.go)
	Probe  time.Duration // how long the pre-claim probe listens (RFC 5227 waits seconds; the lease stands behind us)

	RaftPace        time.Duration // between the heartbeats, which leave to all followers together
	RaftHeartbeat   time.Duration // a follower without a leader waits 1 to 2 times this
	RaftElection    time.Duration
	RaftLeaderLease time.Duration
	RaftCommit      time.Duration // idle AppendEntries; hints carry commits faster, so this may be slow

	GossipInterval time.Duration
	ProbeInterval  time.Duration
	ProbeTimeout   time.Duration
	SuspicionMult  int
}

// Derive gives the timing for a failover setting.
func Derive(failover time.Duration) Timing {
	ttl := failover * 2 / 3
	probe := max(failover, 200*time.Millisecond)
	return Timing{
		Failover:        failover,
		TTL:             ttl,
		Margin:          lease.Margin(ttl),
		Renew:           ttl / 3,
		Probe:           max(failover/40, 5*time.Millisecond),
		RaftPace:        failover / 4,
		RaftHeartbeat:   failover,
		RaftElection:    failover,
		RaftLeaderLease: failover * 3 / 4,
		RaftCommit:      failover,
		GossipInterval:  min(max(failover/2, 100*time.Millisecond), 500*time.Millisecond),
		ProbeInterval:   probe,
		ProbeTimeout:    probe / 2,
		SuspicionMult:   2,
	}
}

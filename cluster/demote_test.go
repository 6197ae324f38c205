package cluster

import (
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// TestALeaderThatTakesItsOwnVoteFollows: its Raft must not end, since the agent would go on without it, deaf to the log.
func TestALeaderThatTakesItsOwnVoteFollows(t *testing.T) {
	b := &book{addrs: map[string]netip.AddrPort{}, pins: map[string]string{}}
	var hosts []*host
	var servers []raft.Server
	for _, n := range []string{"a", "b", "c"} {
		hosts = append(hosts, startHost(t, n, t.TempDir(), b))
		servers = append(servers, raft.Server{ID: raft.ServerID(n), Address: raft.ServerAddress(n)})
	}
	defer func() {
		for _, h := range hosts {
			h.stop(t)
		}
	}()
	if err := hosts[0].raft.Bootstrap(servers); err != nil {
		t.Fatal(err)
	}
	until(t, "a leader is elected", func() bool { return leaderOf(hosts) != nil })
	former := leaderOf(hosts)
	if _, err := former.raft.Demote(t.Context(), former.name, 0); err != nil {
		t.Fatal(err)
	}
	next := func() *host {
		if l := leaderOf(hosts); l != former {
			return l
		}
		return nil
	}
	until(t, "another one leads", func() bool { return next() != nil })
	var index uint64
	until(t, "the new leader commits", func() bool {
		l := next()
		if l == nil {
			return false
		}
		_, mark, err := l.raft.Propose(t.Context(), fsm.Found{Cluster: fsm.Cluster{ID: testID, Name: "home"}, Failover: time.Second, By: "a"})
		index = mark.Index
		return err == nil
	})
	until(t, "the former leader has the entry", func() bool {
		_, has := former.raft.Journal().Term(index)
		return has
	})
}

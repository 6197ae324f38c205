package failures

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nightporter/api"
	"nightporter/config"
)

// Gossip has a host in touch, and the log does not reach it: its Raft port is blocked. It must not be given a service, since it
// would never hear of it, nor a vote, since a cluster that counts on it could be unable to decide anything from then on.
func TestAHostThatTheLogDoesNotReach(t *testing.T) {
	four := []string{"h1", "h2", "h3", "h4"}
	w := found(t, 4, "")
	holder, epoch := w.whole(four)
	w.served("")
	voters := w.voters(holder)
	spare := others(four, "")
	spare = slices.DeleteFunc(spare, func(h string) bool { return slices.Contains(voters, h) })
	if len(voters) != 3 || len(spare) != 1 {
		t.Fatalf("of %v, %v vote", four, voters)
	}
	deaf := spare[0]
	w.tool(deaf, "firewall", "on", "tcp", strconv.Itoa(config.DefaultPeerPort))
	sentence := "the log does not reach " + deaf
	w.await("the leader says "+sentence, func() string {
		st, err := w.ask(w.leader())
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(strings.Join(st.Problems, "\n"), sentence) {
			return fmt.Sprintf("it says %q", st.Problems)
		}
		return ""
	})
	w.complains(holder, []string{"nightporter", "move", web, deaf}, refused, sentence)

	// A voter dies, and is off after a while. The host that would vote in its place is the deaf one.
	dead := holder
	w.stop(dead)
	rest := others(others(four, dead), deaf)
	_, epoch = w.holds(rest, epoch)
	w.served(dead)
	w.await(dead+" is off", func() string {
		st, err := w.ask(rest[0])
		if err != nil {
			return err.Error()
		}
		i := slices.IndexFunc(st.Nodes, func(n api.NodeStatus) bool { return n.Name == dead })
		if i < 0 || st.Nodes[i].Power != "off" {
			return fmt.Sprintf("its nodes are %+v", st.Nodes)
		}
		return ""
	})
	for _, f := range []string{"1100ms", "1s"} { // whoever leads decides, and looks at everything that it has to do
		w.inHost(rest[0], "nightporter", "set", "failover", f)
	}
	if now := w.voters(rest[0]); !slices.Equal(now, voters) {
		t.Errorf("the voters are %v now, and were %v", now, voters)
	}
	if owner, now := w.holds(rest, epoch-1); now != epoch {
		t.Errorf("the service went on to %s under epoch %d, from %d", owner, now, epoch)
	}
	// It can be reached again, and votes.
	w.tool(deaf, "firewall", "off")
	w.await(deaf+" votes", func() string {
		if now := w.voters(rest[0]); !slices.Contains(now, deaf) {
			return fmt.Sprintf("%v vote", now)
		}
		return ""
	})
	w.served(dead)
}

func (w *world) voters(host string) []string {
	w.Helper()
	st, err := w.ask(host)
	w.must(err)
	return st.Quorum.Voters
}

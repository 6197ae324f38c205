package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/fsm"
)

// founding makes a new cluster out of hosts that have none. Each host promises, on disk and then in gossip, to found with
// one founder: the first name among those it sees. The founder founds when as many hosts as bootstrap_expect have
// promised to it, itself among them. So two founders need two disjoint sets of that size: bootstrap_expect must be more
// than half of the hosts that are started first.
type founding struct {
	self     string
	name     string // of the cluster
	expect   int
	failover time.Duration
	services []fsm.Service
	clock    Clock
	raft     raftNode
	members  func() []cluster.Member
	disk     Disk
	promise  func(to string) // puts the promise into gossip
	log      *slog.Logger

	founder atomic.Bool
	waits   atomic.Pointer[string] // the sentence for status
}

// founderGone is how long a founder may be unseen before its promise is void: it has founded nothing that anybody
// heard of.
const founderGone = 30 * time.Second

// run returns when this host belongs to a cluster, founded here or elsewhere, or when ctx ends.
func (f *founding) run(ctx context.Context, bell bell, founded func() bool) error {
	promised, err := f.disk.LoadPromise()
	if err != nil {
		return err
	}
	if promised != "" {
		f.promise(promised)
	}
	unseen := f.clock.Boot()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !founded() {
		has, err := f.raft.HasState()
		if err != nil {
			return err
		}
		if has {
			f.say("this host belongs to a cluster and waits to hear from its leader")
		} else if next := f.look(promised); next != promised {
			if promised == "" || f.clock.Boot().Sub(unseen) > founderGone {
				if err := f.disk.SavePromise(next); err != nil {
					return err
				}
				f.raft.StartAnew() // no cluster is to be seen, so this is to be another one
				promised, unseen = next, f.clock.Boot()
				f.promise(next)
			}
		} else if promised != "" {
			unseen = f.clock.Boot()
			if err := f.tryFound(promised); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-bell:
		case <-tick.C:
		}
	}
	f.say("")
	return nil
}

// look says to whom this host should promise now: the first name among the unfounded hosts, once there are enough;
// otherwise what it promised already.
func (f *founding) look(promised string) string {
	unfounded, founded := f.seen()
	switch {
	case founded != "":
		f.say(fmt.Sprintf("waiting to be admitted by the cluster that %s belongs to; if that knew an earlier machine of the name %s: `nightporter forget %s` there", founded, f.self, f.self))
		return promised
	case len(unfounded) < f.expect:
		f.say(fmt.Sprintf("waiting for %d hosts to found the cluster (bootstrap_expect); in touch with %d: %v", f.expect, len(unfounded), unfounded))
		if promised != "" && !slices.Contains(unfounded, promised) {
			return ""
		}
		return promised
	}
	return unfounded[0]
}

// seen lists the hosts in touch that belong to no cluster, and one that does.
func (f *founding) seen() (unfounded []string, founded string) {
	for _, m := range f.members() {
		if m.Status != cluster.Alive {
			continue
		}
		if m.Meta.Cluster != "" {
			founded = m.Name
			f.raft.Meets(m.Meta.Cluster)
		} else {
			unfounded = append(unfounded, m.Name)
		}
	}
	slices.Sort(unfounded)
	return unfounded, founded
}

// tryFound founds when this host is the founder and enough hosts have promised to it.
func (f *founding) tryFound(promised string) error {
	if promised != f.self {
		f.say("waiting for " + promised + " to found the cluster")
		return nil
	}
	nodes := make(map[string]fsm.Node)
	for _, m := range f.members() {
		if m.Status == cluster.Alive && m.Meta.Cluster == "" && (m.Meta.Promised == f.self || m.Name == f.self) {
			nodes[m.Name] = fsm.Node{Name: m.Name, Policy: m.Meta.Policy, Role: m.Meta.Role, Power: fsm.Awake}
		}
	}
	if len(nodes) < f.expect {
		return nil
	}
	voters := cluster.WantedVoters(&fsm.State{Nodes: nodes}, []string{f.self})
	if !slices.Contains(voters, f.self) {
		voters[len(voters)-1] = f.self
	}
	var servers []raft.Server
	for name := range nodes {
		s := raft.Server{Suffrage: raft.Nonvoter, ID: raft.ServerID(name), Address: raft.ServerAddress(name)}
		if slices.Contains(voters, name) {
			s.Suffrage = raft.Voter
		}
		servers = append(servers, s)
	}
	slices.SortFunc(servers, func(a, b raft.Server) int { return compareStrings(string(a.ID), string(b.ID)) })
	if err := f.raft.Bootstrap(servers); err != nil {
		return fmt.Errorf("founding the cluster: %w", err)
	}
	f.founder.Store(true)
	f.log.Info("founding the cluster", "voters", voters, "hosts", len(nodes))
	return nil
}

// command is the first entry of a new cluster's log. Any leader of a cluster without an identity writes it: all hosts
// were given the same file.
func (f *founding) command() fsm.Command {
	var id [16]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	now := f.clock.Wall()
	return fsm.Found{
		Cluster:  fsm.Cluster{ID: hex.EncodeToString(id[:]), Name: f.name, Created: now},
		Failover: f.failover, Services: f.services, By: f.self,
	}
}

func (f *founding) say(s string) {
	old := f.waits.Swap(&s)
	if s != "" && (old == nil || *old != s) {
		f.log.Info(s)
	}
}

// waiting is the sentence for status; "" once there is a cluster.
func (f *founding) waiting() string {
	if s := f.waits.Load(); s != nil {
		return *s
	}
	return ""
}

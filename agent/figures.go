package agent

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/metrics"
)

// figures gives what the status page and the metrics show. Everything is gathered when somebody asks; between two questions it keeps
// nothing up to date but what it cannot ask for later: how long changes of holder and wakes took.
type figures struct {
	backend  *backend
	raft     func() cluster.RaftFigures
	score    func() int
	silences silences
	phases   *metrics.Vec
	base     uint64 // index of the newest entry at the start: what is up to there is no news
	began    time.Time

	mu          sync.Mutex        // of a scrape
	counted     map[string]uint64 // by service: the index of the newest change of owner that was counted
	transitions metrics.Count
	hours       metrics.Count
	wakes       metrics.Count
	judged      metrics.Count
	failed      metrics.Count
	refused     metrics.Count
}

func newFigures(a *parts, asked func(service, node string) (asking, bool)) *figures {
	return &figures{
		backend: &backend{a}, phases: metrics.NewVec(wakeBounds...), counted: make(map[string]uint64), began: a.deps.Clock.Wall(),
		silences: silences{blackouts: metrics.NewVec(silenceBounds...), asked: asked},
	}
}

// woken takes in a wake that this host ran and measured.
func (f *figures) woken(node string, s fsm.WakeSample) {
	if s.Failed {
		return
	}
	for _, p := range phaseTimes(s.Phases) {
		f.phases.Observe(time.Duration(p.After), node, p.Phase)
	}
}

// Status implements web.Source.
func (f *figures) Status(ctx context.Context) ([]byte, error) {
	s, err := f.backend.Status(ctx)
	if err != nil {
		return nil, err
	}
	return api.Marshal(s)
}

// Day implements web.Source.
func (f *figures) Day(context.Context) ([]byte, error) {
	view := f.backend.machine.View()
	d := dayOf(view.State, powerChanges(view.State), f.backend.cfg.WakeTimeout, f.backend.deps.Clock.Wall())
	d.Index = view.Index
	return api.Marshal(d)
}

// Metrics implements web.Source.
func (f *figures) Metrics(ctx context.Context) ([]byte, error) {
	s, err := f.backend.Status(ctx)
	if err != nil {
		return nil, err
	}
	return metrics.Write(f.families(s)), nil
}

// Watch implements web.Source: what the status says may have changed.
func (f *figures) Watch() (<-chan struct{}, func()) {
	b := f.backend
	changed, unwatch := b.machine.Watch()
	members, remove := b.post.members.add()
	opened, leave := b.post.opens.bells.add()
	out, end := newBell(), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-changed:
			case <-members:
			case <-opened:
			case <-end:
				return
			}
			out.ring()
		}
	})
	return out, func() {
		close(end)
		running.Wait()
		unwatch()
		remove()
		leave()
	}
}

// gathered is samples by the name of their metric.
type gathered map[string][]metrics.Sample

func (g gathered) add(name string, v float64, values ...string) {
	g[name] = append(g[name], metrics.Sample{Values: values, Value: v})
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// families gathers everything, in the order of the catalog.
func (f *figures) families(s api.Status) []metrics.Family {
	b := f.backend
	v := b.scene.view()
	g := gathered{}
	f.mu.Lock()
	defer f.mu.Unlock()
	g.add("nightporter_build_info", 1, b.cfg.Cluster, b.cfg.Node, b.deps.Version, runtime.Version())
	g.add("nightporter_problems", float64(len(s.Problems)))
	g.add("nightporter_failover_seconds", time.Duration(s.Failover).Seconds())
	f.zeros(v.State)
	g.ofServices(s)
	g.ofNodes(s)
	g.ofLog(f, v.State, v.Wall)
	g.ofWaking(b)
	g.ofRaft(f.raft(), s)
	g.ofGossip(f.score, b.gossip.Members())
	g.add("nightporter_disk_failing", one(b.raft.DiskTrouble() != ""))
	g["nightporter_blackout_seconds"], g["nightporter_service_blackout_seconds_total"] = f.silences.blackouts.Samples(), f.silences.sums.Samples()
	g["nightporter_wake_phase_seconds"] = f.phases.Samples()
	f.countRefused()
	g["nightporter_wakes_refused_total"] = f.refused.Samples()
	g.ofProcess()
	out := make([]metrics.Family, 0, len(catalog))
	for _, d := range catalog {
		out = append(out, metrics.Family{Desc: d, Samples: g[d.Name]})
	}
	return out
}

func (g gathered) ofServices(s api.Status) {
	for _, sv := range s.Services {
		holds := sv.Fence.State == "open" && sv.Lease.Left > 0 // past the lease the fence closes by itself, before this host may have noticed
		g.add("nightporter_service_holder", one(holds), sv.Name)
		g.add("nightporter_service_serving", one(holds && sv.Role == "serving"), sv.Name)
		g.add("nightporter_service_owned", one(sv.Owner == s.Node), sv.Name)
		g.add("nightporter_service_lease_left_seconds", time.Duration(sv.Lease.Left).Seconds(), sv.Name)
		g.add("nightporter_service_waiting_attempts", float64(sv.Waiting.Attempts), sv.Name)
		g.add("nightporter_service_waiting_connections", float64(sv.Waiting.Connections), sv.Name)
		g.add("nightporter_service_epoch", float64(sv.Epoch), sv.Name)
		if sv.Owner != "" {
			g.add("nightporter_service_owner", 1, sv.Name, sv.Owner)
		}
		g.add("nightporter_service_owner_since_timestamp_seconds", unixTime(sv.Since), sv.Name)
		for _, h := range sv.Health {
			switch cluster.HealthState(h.State) { // of the others nothing is known: a target that sleeps, a standby whose unit is down
			case cluster.HealthReady, cluster.HealthFailing:
				g.add("nightporter_service_target_ready", one(h.State == string(cluster.HealthReady)), sv.Name, h.Node)
			}
		}
	}
}

// unixTime is a time as Prometheus has it; 0 = none.
func unixTime(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func (g gathered) ofNodes(s api.Status) {
	for _, n := range s.Nodes {
		for _, p := range []fsm.Power{fsm.Awake, fsm.Suspending, fsm.Asleep, fsm.Waking, fsm.Off} {
			g.add("nightporter_node_power", one(n.Power == string(p)), n.Name, string(p))
		}
		g.add("nightporter_node_power_since_timestamp_seconds", unixTime(n.Since), n.Name)
		g.add("nightporter_node_alive", one(n.Alive), n.Name)
		g.add("nightporter_node_voter", one(n.Voter), n.Name)
		if n.Role != string(fsm.Witness) { // which is to hold nothing
			g.add("nightporter_node_fit", one(n.Fit), n.Name)
		}
		g.add("nightporter_node_maintenance", one(n.Maintenance), n.Name)
		if n.Policy == string(fsm.Sleeps) {
			g.add("nightporter_wake_limit_seconds", time.Duration(n.Wakes.Limit).Seconds(), n.Name)
		}
		if w := n.WakeFitness; w != nil {
			g.add("nightporter_node_may_sleep", one(w.MaySleep), n.Name)
			g.add("nightporter_node_cannot_be_woken", one(w.CannotBeWoken), n.Name)
		}
	}
	g.add("nightporter_quorum_voters", float64(len(s.Quorum.Voters)))
	g.add("nightporter_quorum_voters_awake", float64(len(s.Quorum.Awake)))
	g.add("nightporter_quorum_voters_needed", float64(s.Quorum.Needed))
}

// ofLog counts what the log remembers.
func (g gathered) ofLog(f *figures, state *fsm.State, now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(state.History)) {
		for _, c := range state.History[name] {
			// An empty log says nothing of what is news: then the stamps do.
			if c.Index > max(f.base, f.counted[name]) && (f.base != 0 || !c.At.Before(f.began)) {
				f.transitions.Add(1, name, string(c.Reason))
				f.counted[name] = c.Index
			}
		}
	}
	for name := range state.Nodes {
		f.failed.Reach(float64(state.WakeTimes[name].Failed), name)
		l, counted := fsm.Until(state, name, now)
		if !counted {
			continue
		}
		for p, d := range map[fsm.Power]time.Duration{fsm.Awake: l.Total.Awake, fsm.Asleep: l.Total.Asleep, fsm.Off: l.Total.Off} {
			f.hours.Reach(d.Seconds(), name, string(p))
		}
		began, judged := make(map[[2]string]uint64), make(map[[2]string]uint64)
		for _, w := range l.Total.Wakes {
			began[[2]string{w.Service, string(w.Cause)}] += w.Count
			if w.Verdict != "" {
				judged[[2]string{w.Service, string(w.Verdict)}] += w.Count
			}
		}
		for k, n := range began {
			f.wakes.Reach(float64(n), name, k[0], k[1])
		}
		for k, n := range judged {
			f.judged.Reach(float64(n), name, k[0], k[1])
		}
	}
	for _, c := range []*metrics.Count{&f.hours, &f.wakes, &f.judged, &f.failed} {
		c.Keep(func(values []string) bool { _, is := state.Nodes[values[0]]; return is })
	}
	g["nightporter_service_transitions_total"] = f.transitions.Samples()
	g["nightporter_node_power_seconds_total"] = f.hours.Samples()
	g["nightporter_wakes_total"] = f.wakes.Samples()
	g["nightporter_wakes_judged_total"] = f.judged.Samples()
	g["nightporter_wakes_failed_total"] = f.failed.Samples()
}

// countRefused adds the lines of attempts up.
func (f *figures) countRefused() {
	b := f.backend
	sums := make(map[[2]string]uint64)
	for _, i := range b.waking.economy.refused(time.Duration(b.deps.Clock.Boot()), b.deps.Clock.Wall(), b.cfg.Node) {
		sums[[2]string{i.Service, i.Why}] += i.Count
	}
	for k, n := range sums {
		f.refused.Reach(float64(n), k[0], k[1])
	}
}

func (g gathered) ofWaking(b *backend) {
	g.add("nightporter_wakes_waiting", float64(len(b.waking.waitingWakes())))
}

func (g gathered) ofRaft(r cluster.RaftFigures, s api.Status) {
	g.add("nightporter_raft_has_leader", one(s.Leader != ""))
	g.add("nightporter_raft_leader", one(r.Leads))
	g.add("nightporter_raft_leader_changes_total", float64(r.LeaderChanges))
	g.add("nightporter_raft_term", float64(r.Term))
	g.add("nightporter_raft_last_index", float64(r.Last))
	g.add("nightporter_raft_commit_index", float64(r.Commit))
	g.add("nightporter_raft_applied_index", float64(r.Applied))
	if r.Contact >= 0 {
		g.add("nightporter_raft_last_contact_seconds", r.Contact.Seconds())
	}
}

func (g gathered) ofGossip(score func() int, members []cluster.Member) {
	g.add("nightporter_gossip_health_score", float64(score()))
	states := map[cluster.Status]int{cluster.Alive: 0, cluster.Failed: 0, cluster.Left: 0}
	for _, m := range members {
		states[m.Status]++
	}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		g.add("nightporter_gossip_members", float64(states[name]), string(name))
	}
}

package agent

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/metrics"
)

// What a large cluster costs a Prometheus grows with its services and with its hosts, not with their product, and is what docs/metrics.md says.
func TestTheMetricsOfALargeCluster(t *testing.T) {
	lines := func(services, hosts int) (n, size int) {
		now := time.Now()
		state := &fsm.State{Services: map[string]fsm.Service{}, Nodes: map[string]fsm.Node{}, Ledger: map[string]fsm.NodeLedger{}, History: map[string][]fsm.Change{}}
		s := api.Status{Node: "host-0", Leader: "host-0"}
		var targets []string
		for i := range hosts {
			name := fmt.Sprintf("host-%d", i)
			state.Nodes[name] = fsm.Node{Name: name, Policy: fsm.Sleeps, Format: 2, Power: fsm.Awake, PowerSince: now}
			state.Ledger[name] = fsm.NodeLedger{}
			s.Nodes = append(s.Nodes, api.NodeStatus{Name: name, Policy: "sleeps", WakeFitness: &api.WakeFitness{}})
			targets = append(targets, name)
		}
		f := &figures{counted: make(map[string]uint64), began: now, phases: metrics.NewVec(wakeBounds...), silences: silences{blackouts: metrics.NewVec(silenceBounds...)}}
		for i := range services {
			name := fmt.Sprintf("service-%d", i)
			state.Services[name] = fsm.Service{Name: name, Targets: targets[:min(2, hosts)]}
			s.Services = append(s.Services, api.ServiceStatus{Service: api.Service{Name: name}, Owner: "host-0"})
			for k, r := range takenBy { // all that can happen to it has happened
				state.History[name] = append(state.History[name], fsm.Change{Index: uint64(k + 1), At: now, Reason: r})
				f.silences.blackouts.Observe(time.Second, string(r))
				f.silences.sums.Add(1, name)
			}
		}
		g := gathered{}
		f.zeros(state)
		g.ofServices(s)
		g.ofNodes(s)
		g.ofLog(f, state, now)
		g.ofRaft(cluster.RaftFigures{}, s)
		g["nightporter_blackout_seconds"], g["nightporter_service_blackout_seconds_total"] = f.silences.blackouts.Samples(), f.silences.sums.Samples()
		g["nightporter_wake_phase_seconds"], g["nightporter_wakes_refused_total"] = f.phases.Samples(), f.refused.Samples()
		var all []metrics.Family
		for _, d := range catalog {
			all = append(all, metrics.Family{Desc: d, Samples: g[d.Name]})
		}
		text := metrics.Write(all)
		return bytes.Count(text, []byte("\n")) - bytes.Count(text, []byte("\n#")), len(text)
	}
	few, _ := lines(1, 10)
	many, size := lines(200, 10)
	if per := float64(many-few) / 199; per > 30 {
		t.Errorf("%v lines for each service", per)
	}
	one, _ := lines(1, 1)
	if per := float64(few-one) / 9; per > 120 {
		t.Errorf("%v lines for each host", per)
	}
	if many > 8000 || size > 600e3 {
		t.Errorf("%d lines, %d bytes of 200 services and 10 hosts", many, size)
	}
	t.Logf("1 service, 1 host: %d lines; 1 and 10: %d; 200 and 10: %d, %d bytes", one, few, many, size)
}

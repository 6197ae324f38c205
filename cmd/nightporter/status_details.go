package main

import (
	"maps"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/config"
)

// drawDetails adds what the one screen has no room for.
func drawDetails(p *page, s api.Status) {
	p.line("")
	if note := config.FailoverNote(time.Duration(s.Failover)); note != "" && s.Failover != 0 {
		p.line("note: %s", note)
	}
	if line := sleepLine(s); line != "" {
		p.line("%s", line)
	}
	drawModes(p, s.Services)
	for _, v := range s.Services {
		if v.Lease.State == "held" {
			p.line("%s: the lease of this host runs for %s more; fence %s %s", v.Name, short(v.Lease.Left), v.Fence.State, v.Fence.Kind)
		}
		for _, l := range v.Fence.Limits {
			p.line("limit of the fence of %s: %s", v.Name, l)
		}
	}
	drawHealth(p, s.Services)
	drawFitness(p, s.Nodes, s.Problems)
	drawWakes(p, s.Nodes)
}

// sleepLine tells how this host sleeps, and what a suspend that others start does. An older agent says nothing of it.
func sleepLine(s api.Status) string {
	if s.Sleep.How == "" {
		return ""
	}
	how := s.Node + " never sleeps by itself"
	if i := slices.IndexFunc(s.Nodes, func(n api.NodeStatus) bool { return n.Name == s.Node }); i >= 0 && s.Nodes[i].Policy == "sleeps" {
		how = s.Node + " sleeps by " + s.Sleep.How
	}
	switch s.Sleep.Delay {
	case "held", "released":
		return how + "; a suspend by others (lid, systemctl) waits up to " + s.Sleep.DelayMax.String() + " for the hand-over"
	case "none":
		return how + "; there is no systemd-logind: a suspend by others comes without a hand-over"
	}
	return how + "; whether a suspend by others waits for the hand-over is not known"
}

// wakePhases are the columns of how long wakes take.
var wakePhases = []string{"called", "back", "awake", "ready", "served"}

// drawWakes tells how long the hosts take to wake, as far as that was ever measured.
func drawWakes(p *page, nodes []api.NodeStatus) {
	var rows [][]string
	for _, n := range nodes {
		if n.Wakes.Woken+n.Wakes.Failures == 0 {
			continue
		}
		row := []string{n.Name, number(n.Wakes.Woken), number(n.Wakes.Failures), short(n.Wakes.Limit)}
		for _, name := range wakePhases {
			cell := ""
			for _, t := range n.Wakes.Phases {
				if t.Phase == name {
					cell = short(t.P50) + "/" + short(t.P95) + "/" + short(t.Max)
				}
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return
	}
	p.line("")
	p.line("how long wakes take, from the demand (p50/p95/max of the newest)")
	p.table([]string{"NODE", "WOKEN", "FAILED", "LIMIT", "CALLED", "BACK", "AWAKE", "READY", "SERVED"}, rows)
}

// short prints a time to the millisecond, or a short one to the hundredth of it.
func short(d api.Duration) string {
	if t := time.Duration(d); t >= 10*time.Millisecond {
		return t.Round(time.Millisecond).String()
	}
	return time.Duration(d).Round(10 * time.Microsecond).String()
}

// drawHealth tells what the targets of services with checks say of themselves.
func drawHealth(p *page, services []api.ServiceStatus) {
	var rows [][]string
	for _, v := range services {
		for _, h := range v.Health {
			rows = append(rows, []string{v.Name, h.Node, h.State, h.Detail})
		}
	}
	if len(rows) > 0 {
		p.line("")
		p.table([]string{"CHECKS OF", "ON", "STATE", "DETAIL"}, rows)
	}
}

// drawModes says once of each mode which services have it, and what it gives.
func drawModes(p *page, services []api.ServiceStatus) {
	names, gives := map[string][]string{}, map[string]string{}
	for _, v := range services {
		if v.ModeGives != "" { // an older agent says nothing of it
			names[v.Mode], gives[v.Mode] = append(names[v.Mode], v.Name), v.ModeGives
		}
	}
	for _, mode := range slices.Sorted(maps.Keys(names)) {
		p.line("mode %s (%s): %s", mode, strings.Join(names[mode], ", "), gives[mode])
	}
}

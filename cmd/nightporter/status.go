package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
	"nightporter/config"
)

func statusVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Tell who holds what, who sleeps, and what is wrong",
		Long: `Tell what the agent of this host knows: first what is wrong, then the services, then the nodes.
LEASE and FENCE are those of this host; the rest is what the cluster has agreed on. For services with
checks it tells what each target says of itself: ready, failing and why, or unknown. How long a host
takes to wake stands below the nodes: until the first packet left (CALLED), the host says that it is
awake (BACK), the log says so (AWAKE), its checks pass (READY) and it has opened the service (SERVED);
a wake has failed after LIMIT. Hosts that could not be woken stand among what is wrong.`,
		Example: `  nightporter status
  nightporter status -o json | jq -r '.services[] | .name + " " + .owner'`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				s, err := c.Status(ctx)
				if err != nil {
					return err
				}
				return sh.show(s, func(p *page) { drawStatus(p, s) })
			})
		},
	}
}

func drawStatus(p *page, s api.Status) {
	leader := s.Leader
	if leader == "" {
		leader = "none"
	}
	p.line("cluster %s, seen from %s (%s)", s.Cluster.Name, s.Node, s.Version)
	p.line("leader %s, %d of %s awake (%d needed), failover %s", leader,
		len(s.Quorum.Awake), count(len(s.Quorum.Voters), "voter"), s.Quorum.Needed, s.Failover)
	if note := config.FailoverNote(time.Duration(s.Failover)); note != "" && s.Failover != 0 {
		p.line("note: %s", note)
	}
	if line := sleepLine(s); line != "" {
		p.line("%s", line)
	}
	for _, problem := range s.Problems {
		p.line("! %s", problem)
	}
	p.line("")
	if len(s.Services) == 0 {
		p.line("no services; define some with `nightporter apply -f FILE`")
	} else {
		drawServices(p, s.Services)
	}
	p.line("")
	drawNodes(p, s.Nodes)
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

func drawServices(p *page, services []api.ServiceStatus) {
	var rows [][]string
	for _, v := range services {
		lease := v.Lease.State
		if v.Lease.State == "held" {
			lease += " " + time.Duration(v.Lease.Left).Round(time.Millisecond).String()
		}
		fence := strings.TrimSpace(v.Fence.State + " " + v.Fence.Kind)
		rows = append(rows, []string{v.Name, list(v.Addresses), v.Owner, v.OwnerState, number(v.Epoch), v.Reason, moment(v.Since), v.Role, lease, fence})
	}
	p.table([]string{"SERVICE", "ADDRESS", "OWNER", "STATE", "EPOCH", "REASON", "SINCE", "HERE", "LEASE", "FENCE"}, rows)
	drawModes(p, services)
	for _, v := range services {
		for _, r := range v.Lease.Refused {
			p.line("%s: voter %s refuses the lease (%s%s)", v.Name, r.Voter, r.Reason, inTheWay(r))
		}
		drawWaiting(p, v)
		for _, l := range v.Fence.Limits {
			p.line("limit of the fence of %s: %s", v.Name, l)
		}
	}
	drawHealth(p, services)
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

// drawWaiting says who waits.
func drawWaiting(p *page, v api.ServiceStatus) {
	if n := v.Waiting.Attempts; n > 0 {
		p.line("%s: %s to connect kept here for a target", v.Name, count(n, "attempt"))
	}
	if n := v.Waiting.Connections; n > 0 {
		p.line("%s: %s of a sleeping target looked after here", v.Name, count(n, "connection"))
	}
	for _, at := range v.Waiting.Shut {
		p.line("%s: nobody listens at %s on this host; who asks there waits", v.Name, at)
	}
}

func inTheWay(r api.Refusal) string {
	if r.Holder == "" {
		return ""
	}
	return ", " + r.Holder + " still has it for " + time.Duration(r.Left).Round(time.Millisecond).String()
}

package main

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func statusVerb(sh *shell) *cobra.Command {
	var watch, details bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell who holds what, who sleeps, and what is wrong",
		Long: `Tell what the agent of this host knows, on one screen: what is wrong and what to do about it, then the services,
then the nodes. It works on any host of the cluster; on one that has lost touch it says how old its knowledge is.

Of a service: who has it (serves: a target; holds: a front, while no target is ready; claims: it is about to; silent: it gives
no sign of life), since when, why (the reason of the last change of owner), under which epoch, and its lease and fence.
The holder is asked for these (held, asking, refused; open, closed). Where it does not answer at once, a voter says what it
granted (granted, SILENT), and a fence is "open" when the holder announced it, or "open?" when that may be over or only
its lease says that it must be; "?" is not known here.

Of a node: its power state since when and why, its vote, when it was last seen, and whether it can be woken (WAKES): yes, as
shown by its last canary or wake; no; untested; or - for one that never sleeps.

--details adds the modes, the checks, how the hosts sleep, and how long their wakes take: until the first packet left (CALLED),
the host says that it is awake (BACK), the log says so (AWAKE), its checks pass (READY) and it has opened the service
(SERVED); a wake has failed after LIMIT. --watch shows it anew whenever something changes, until it is interrupted.`,
		Example: `  nightporter status
  nightporter status --watch
  nightporter status -o json | jq -r '.services[] | .name + " " + .owner'
  nightporter status --watch -o json | jq -r '.problems[]'`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return watchStatus(sh, cmd, details)
			}
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				w, err := c.Watch(ctx, api.WatchQuery{Ask: true})
				s := w.Status
				if api.CodeOf(err) == api.CodeVersion { // an older daemon
					s, err = c.Status(ctx)
				}
				if err != nil {
					return err
				}
				return sh.show(s, func(p *page) { drawStatus(p, s, screenOf(sh.out, sh.getenv), details) })
			})
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew whenever something changes; with -o json one object per line")
	cmd.Flags().BoolVar(&details, "details", false, "show all that is known, on more than one screen")
	return cmd
}

// watchStatus shows each new status until it is interrupted. At a terminal it takes the place of the one before.
func watchStatus(sh *shell, cmd *cobra.Command, details bool) error {
	mark, first := "", true
	return sh.follow(cmd, func(ctx context.Context, c *api.Client) error {
		w, err := c.Watch(ctx, api.WatchQuery{Mark: mark, Wait: sh.patienceOf(), Ask: true})
		if err != nil || w.Mark == mark {
			return err
		}
		mark = w.Mark
		if sh.output == "json" {
			return sh.showLine(w.Status)
		}
		at := screenOf(sh.out, sh.getenv)
		var p page
		switch {
		case at.terminal && first:
			p.buf.WriteString("\x1b[2J")
		case !at.terminal && !first:
			p.line("")
		}
		first = false
		drawStatus(&p, w.Status, at, details)
		text := p.buf.String()
		if at.terminal {
			text = repaint(at.fits(text))
		}
		_, err = sh.out.Write([]byte(text))
		return err
	})
}

func drawStatus(p *page, s api.Status, at screen, details bool) {
	title := "cluster " + s.Cluster.Name + ", seen from " + s.Node + " (" + s.Version + ")"
	if !s.Time.IsZero() {
		title += " at " + s.Time.UTC().Format(time.DateTime) + " UTC"
	}
	p.wrapped(at.width, "", title)
	if len(s.Troubles) == 0 { // of an older daemon, until that is restarted
		for _, what := range s.Problems {
			s.Troubles = append(s.Troubles, api.Trouble{What: what})
		}
	}
	for _, t := range s.Troubles {
		p.wrapped(at.width, "! ", t.What)
		if t.Do != "" {
			p.wrapped(at.width, "  do: ", t.Do)
		}
	}
	p.wrapped(at.width, "", overview(s))
	p.line("")
	if len(s.Services) == 0 {
		p.line("no services; define some with `nightporter apply -f FILE`")
	} else {
		drawServices(p, s, at)
	}
	p.line("")
	drawHosts(p, s, at)
	if details {
		drawDetails(p, s)
	}
}

// overview is the cluster in one sentence.
func overview(s api.Status) string {
	var parts []string
	if len(s.Troubles) == 0 {
		parts = append(parts, "nothing is wrong")
	}
	parts = append(parts, "leader "+cmp.Or(s.Leader, "none"),
		number(uint64(len(s.Quorum.Awake)))+" of "+count(len(s.Quorum.Voters), "voter")+" awake ("+number(uint64(s.Quorum.Needed))+" needed)",
		"failover "+s.Failover.String())
	switch {
	case s.Known.Current:
		parts = append(parts, "the log is current (entry "+number(s.Known.Index)+")")
	case s.Known.Age > 0:
		parts = append(parts, "the log is as of "+time.Duration(s.Known.Age).Round(100*time.Millisecond).String()+" ago (entry "+number(s.Known.Index)+")")
	default:
		parts = append(parts, "no leader was heard since the agent started (log entry "+number(s.Known.Index)+")")
	}
	return strings.Join(parts, "; ")
}

// clock prints a time for the narrow screen: without the date where that is today's.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	switch {
	case t.IsZero():
		return ""
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format(time.TimeOnly)
	case t.Year() == now.Year():
		return t.Format("01-02 15:04")
	}
	return t.Format(time.DateOnly)
}

// deeds say what an owner does.
var deeds = map[string]string{"serving": "serves", "holding": "holds", "claiming": "claims", "silent": "SILENT"}

func drawServices(p *page, s api.Status, at screen) {
	var rows [][]string
	for _, v := range s.Services {
		holder := strings.TrimSpace(v.Owner + " " + deeds[v.OwnerState])
		lease, fence := holderWords(v)
		row := []string{v.Name, cmp.Or(holder, "NOBODY"), clock(v.Since, s.Time), v.Reason, number(v.Epoch), lease, fence}
		if at.wide() {
			row = []string{v.Name, list(v.Addresses), cmp.Or(holder, "NOBODY"), moment(v.Since), v.Reason, number(v.Epoch), lease, fence, v.Role, v.By}
		}
		rows = append(rows, row)
	}
	heading := []string{"SERVICE", "HOLDER", "SINCE", "WHY", "EPOCH", "LEASE", "FENCE"}
	if at.wide() {
		heading = []string{"SERVICE", "ADDRESS", "HOLDER", "SINCE (UTC)", "WHY", "EPOCH", "LEASE", "FENCE", "HERE", "BY"}
	}
	p.grid(at.width, heading, rows)
	for _, v := range s.Services {
		for _, r := range v.Lease.Refused {
			p.wrapped(at.width, "", v.Name+": voter "+r.Voter+" refuses the lease ("+r.Reason+inTheWay(r)+")")
		}
		drawWaiting(p, v, at)
	}
}

// holderWords say what is known of the lease and the fence of a service's owner.
func holderWords(v api.ServiceStatus) (lease, fence string) {
	lease, fence = v.Holder.Lease, v.Holder.Fence
	switch lease {
	case "none":
		lease = ""
	case "unknown", "":
		lease = "?"
	case "silent":
		lease = "SILENT"
	}
	switch fence {
	case "none":
		fence = ""
	case "unknown", "":
		fence = "?"
	case "presumed-open":
		fence = "open?"
	}
	return lease, fence
}

func drawHosts(p *page, s api.Status, at screen) {
	var rows [][]string
	for _, n := range s.Nodes {
		state, seen, since, why := n.Power, clock(n.LastSeen, s.Time), n.Since, n.PowerReason
		if n.Alive && n.Power != "asleep" { // of one that has just gone to sleep gossip does not know yet
			seen = "now"
		} else if !n.Alive && n.Power == "awake" {
			state, since, why = "LOST", n.LastSeen, "silent" // since when and why the log has it as awake says nothing of that
		}
		if n.Maintenance {
			state += ",maint"
		}
		row := []string{n.Name, state, clock(since, s.Time), why, vote(n), seen, wakable(n)}
		if at.wide() {
			addr := ""
			if n.Addr.IsValid() {
				addr = n.Addr.String()
			}
			if !n.Alive {
				seen = moment(n.LastSeen)
			}
			row = []string{n.Name, addr, state, moment(since), why, vote(n), seen, wakable(n), n.Policy, held(s.Services, n.Name), list(n.Wake), n.Version}
		}
		rows = append(rows, row)
	}
	heading := []string{"NODE", "STATE", "SINCE", "WHY", "VOTE", "SEEN", "WAKES"}
	if at.wide() {
		heading = []string{"NODE", "ADDRESS", "STATE", "SINCE (UTC)", "WHY", "VOTE", "SEEN", "WAKES", "POLICY", "HAS", "MAC", "VERSION"}
	}
	p.grid(at.width, heading, rows)
}

func vote(n api.NodeStatus) string {
	switch {
	case n.Leader:
		return "leader"
	case n.Voter && n.Role != "":
		return n.Role
	case n.Voter:
		return "voter"
	}
	return "no"
}

// wakable says whether a host can be woken, as far as that was ever shown.
func wakable(n api.NodeStatus) string {
	f := n.WakeFitness
	switch {
	case n.Policy != "sleeps":
		return ""
	case f == nil:
		return "?"
	case f.CannotBeWoken:
		return "NO"
	case !f.MaySleep && (f.WoL == "unarmed" || f.Revoked != ""):
		return "no"
	case f.Since.IsZero() && n.Wakes.Woken == 0:
		return "untested"
	}
	return "yes"
}

// held names the services that a node has.
func held(services []api.ServiceStatus, node string) string {
	var names []string
	for _, v := range services {
		if v.Owner == node {
			names = append(names, v.Name)
		}
	}
	return strings.Join(names, ",")
}

// drawWaiting says who waits.
func drawWaiting(p *page, v api.ServiceStatus, at screen) {
	if n := v.Waiting.Attempts; n > 0 {
		p.wrapped(at.width, "", v.Name+": "+count(n, "attempt")+" to connect kept here for a target")
	}
	if n := v.Waiting.Connections; n > 0 {
		p.wrapped(at.width, "", v.Name+": "+count(n, "connection")+" of a sleeping target looked after here")
	}
	for _, shut := range v.Waiting.Shut {
		p.wrapped(at.width, "", v.Name+": nobody listens at "+shut+" on this host; who asks there waits")
	}
}

func inTheWay(r api.Refusal) string {
	if r.Holder == "" {
		return ""
	}
	return ", " + r.Holder + " still has it for " + time.Duration(r.Left).Round(time.Millisecond).String()
}

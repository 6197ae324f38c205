package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// Explain tells why a service or a node is as it is.
func (b *backend) Explain(ctx context.Context, name string) (api.Explained, error) {
	v, known := b.touched()
	if err := b.founded(v.State, "find out why "+name+" is as it is"); err != nil {
		return api.Explained{}, err
	}
	service, node, err := named(v.State, name)
	if err != nil {
		return api.Explained{}, err
	}
	if node != "" {
		w, err := b.Why(ctx, node)
		return api.Explained{Node: &w}, err
	}
	if _, defined := v.State.Services[service]; !defined {
		return api.Explained{}, api.Refused(service+" was deleted: nobody holds it", "`nightporter history "+service+"` tells what was")
	}
	w := whyService(v, service)
	w.OwnerState = b.ownerState(v, service, v.State.Ownerships[service])
	w.Notes = append(w.Notes, b.hinders(ctx, v, w)...)
	if !known.Current && known.Age > 0 {
		w.Summary = fmt.Sprintf("as of %s ago, when a leader was heard here last: %s", round(time.Duration(known.Age)), w.Summary)
	}
	if v.Leader != b.cfg.Node {
		w.Notes = append(w.Notes, "this is as "+b.cfg.Node+" sees it; "+cmp.Or(v.Leader, "the leader, when there is one,")+" decides")
	}
	return api.Explained{Service: &w}, nil
}

// hinders is what keeps the owner of a service from opening it, in its own words: it is asked itself.
func (b *backend) hinders(ctx context.Context, v cluster.View, w api.ServiceWhy) (out []string) {
	if w.OwnerState != "claiming" {
		return nil
	}
	var s api.Status
	var err error
	switch {
	case w.Owner == b.cfg.Node:
		s, err = b.Status(ctx)
	case !v.Present[w.Owner].Alive || api.CallerOf(ctx).Peer != "":
		return nil
	default:
		ask, cancel := context.WithTimeout(ctx, whyPatience)
		defer cancel()
		s, err = b.peer(w.Owner).Status(ask)
	}
	if err != nil {
		return nil // status says that it does not answer
	}
	for _, p := range s.Problems {
		if strings.HasPrefix(p, "service "+w.Service+":") || strings.HasPrefix(p, "service "+w.Service+" ") {
			out = append(out, w.Owner+" says: "+p)
		}
	}
	return out
}

// stamp prints a time for sentences.
func stamp(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }

// ownerCause says why a service has the owner that it has.
func ownerCause(state *fsm.State, service string) string {
	own := state.Ownerships[service]
	if own.Epoch == 0 {
		return "it has never had one"
	}
	words := own.Reason.Because()
	if h := state.History[service]; len(h) > 0 && h[len(h)-1].Epoch == own.Epoch {
		last := h[len(h)-1]
		if last.From != "" && last.From != last.To {
			words += " (before: " + last.From + ")"
		}
		if last.Detail != "" {
			words += ": " + last.Detail
		}
	}
	return words
}

// whyService is pure.
func whyService(v cluster.View, name string) api.ServiceWhy {
	sv, own := v.State.Services[name], v.State.Ownerships[name]
	w := api.ServiceWhy{
		Service: name, Owner: own.Owner, Epoch: own.Epoch, Since: own.Since, Reason: string(own.Reason), Cause: ownerCause(v.State, name), By: own.By,
		Choices: []api.Choice{}, Rules: []api.Rule{}, Notes: []string{},
	}
	serves := slices.Contains(sv.Targets, own.Owner)
	switch {
	case own.Owner == "":
		w.Summary = fmt.Sprintf("nobody has %s: no host that is awake could take it", name)
	case serves:
		w.Summary = fmt.Sprintf("%s serves %s since %s (epoch %d), because %s", own.Owner, name, stamp(own.Since), own.Epoch, w.Cause)
	default:
		w.Summary = fmt.Sprintf("%s holds %s as a front since %s (epoch %d), because %s; it runs on %s, and until %s is ready clients %s (hold: %s)",
			own.Owner, name, stamp(own.Since), own.Epoch, w.Cause, cmp.Or(strings.Join(sv.Targets, ", "), "no host"), oneOf(sv.Targets), heldBy(sv.Hold, own.Owner), sv.Hold)
	}
	for _, c := range v.Choices(name) {
		w.Choices = append(w.Choices, choiceOf(v, sv, own, c))
	}
	switch {
	case own.Owner == "":
		w.Rules = append(w.Rules, api.Rule{Sentence: "the first of the hosts below that is awake, in touch and fit gets it at once", Key: "targets"})
		w.Rules = append(w.Rules, comings(v, sv)...)
	case serves:
		w.Rules = append(w.Rules, goings(v, sv, own)...)
	default:
		w.Rules = append(w.Rules, comings(v, sv)...)
		w.Rules = append(w.Rules, losses(v, sv, own)...)
	}
	if v.Leader == "" {
		first := api.Rule{Sentence: "nothing of this is decided before there is a leader: until then the service stays where it is", Key: "`nightporter status`"}
		w.Rules = append([]api.Rule{first}, w.Rules...)
	}
	return w
}

// oneOf stands for some hosts that were named just before.
func oneOf(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return "one of these"
}

// heldBy is what becomes of clients at a front.
func heldBy(h fsm.Hold, front string) string {
	switch h {
	case fsm.HoldReject:
		return "are refused at " + front
	case fsm.HoldHTTP:
		return "get a waiting page from " + front
	case fsm.HoldProxy:
		return "are taken by " + front + " and wait there"
	}
	return "wait at " + front
}

// choiceOf says of one host why it has the service, or has it not.
func choiceOf(v cluster.View, sv fsm.Service, own fsm.Ownership, c cluster.Choice) api.Choice {
	out := api.Choice{Node: c.Node, Kind: "front", State: "ready"}
	if c.Target {
		out.Kind = "target"
	}
	served := slices.Contains(sv.Targets, own.Owner)
	switch {
	case c.Node == own.Owner && c.Why == "":
		out.State, out.Reason = "holds", "it has the service"
	case c.Node == own.Owner:
		out.State, out.Reason = "holds", "it has the service, and could not take it now: "+because(v, c)
	case c.Why != "":
		out.State, out.Reason = "passed-over", because(v, c)
	case c.Damped && !c.Target:
		out.Reason = "it could hold the address and wake a target; it lost the service by failure just now, so it comes last for a while"
	case c.Damped:
		out.State, out.Reason = "passed-over", "it lost the service by failure just now: it is left alone for a while, so that it does not flap"
	case c.Target && served:
		out.Reason = "it is ready, and would be next: a service is not taken from a target that serves"
	case c.Target && v.StaysMoved(sv.Name, c.Node):
		out.State, out.Reason = "passed-over", "somebody moved the service away with `nightporter move`; it takes it back when it comes up anew"
	case c.Target && v.Engaged[sv.Name]:
		out.State, out.Reason = "passed-over", "it is ready, but clients are connected through "+own.Owner+" (hold: proxy): it gets the service when they have gone"
	case c.Target:
		out.Reason = "it is ready: the leader gives it the service now"
	default:
		out.Reason = "it could hold the address and wake a target"
	}
	return out
}

// because says why a host cannot take a service, with what is recorded of its power.
func because(v cluster.View, c cluster.Choice) string {
	n := v.State.Nodes[c.Node]
	if n.Power != fsm.Awake {
		return fmt.Sprintf("it is %s since %s, because %s", n.Power, stamp(n.PowerSince), n.PowerReason.Because())
	}
	if why, about := strings.CutPrefix(c.Why, c.Node+" "); about {
		return "it " + why
	}
	return c.Why
}

// comings are what brings a target up and the service to it.
func comings(v cluster.View, sv fsm.Service) (out []api.Rule) {
	called := ""
	for _, t := range sv.Targets {
		n, known := v.State.Nodes[t]
		switch {
		case !known:
		case n.Maintenance:
			out = append(out, api.Rule{Sentence: t + " gets it when it is out of maintenance", Key: "maintenance"})
		case n.Power != fsm.Awake:
			out = append(out, api.Rule{Sentence: fmt.Sprintf("it moves to %s when that is awake%s", t, checked(sv)), Key: "targets: [" + strings.Join(sv.Targets, ", ") + "]"})
			if called == "" && len(n.Wake) > 0 {
				called = t
			}
		case v.StaysMoved(sv.Name, t):
			out = append(out, api.Rule{Sentence: "it stays where it was moved to, until " + t + " comes up anew or somebody gives it back", Key: "`nightporter move " + sv.Name + " " + t + "`"})
		case v.Ready(sv, t) && damped(v, sv, t):
			out = append(out, api.Rule{Sentence: "it moves to " + t + " when that has been left alone for a while, a minute at most", Key: "failover: " + v.Timing.Failover.String()})
		case v.Ready(sv, t) && v.Engaged[sv.Name]:
			out = append(out, api.Rule{Sentence: "it moves to " + t + " when the clients that are connected through the front have gone", Key: "hold: proxy"})
		case v.Ready(sv, t):
			out = append(out, api.Rule{Sentence: t + " is ready and gets it", Key: "targets: [" + strings.Join(sv.Targets, ", ") + "]"})
		default:
			out = append(out, api.Rule{Sentence: "it moves to " + t + " when that is in touch and fit" + checked(sv), Key: "checks"})
		}
	}
	if called != "" && len(sv.Ports) > 0 {
		out = append(out, api.Rule{Sentence: called + " can be called by hand", Key: "`nightporter wake " + called + "`"})
	}
	if called != "" && len(sv.Ports) > 0 && v.State.Ownerships[sv.Name].Owner != "" { // else nobody hears a client
		unless := ""
		if len(sv.Targets) > 1 {
			unless = ", unless another target is quicker up"
		}
		if cannotBeWoken(v.State.Fitness[called]) {
			unless += ", which was called in vain the last time"
		}
		out = append([]api.Rule{{Sentence: fmt.Sprintf("a client that asks for %s wakes %s%s%s", portList(sv), called, unless, whoMay(sv)), Key: "ports, wake"}}, out...)
	}
	return out
}

func damped(v cluster.View, sv fsm.Service, node string) bool {
	return slices.ContainsFunc(v.Choices(sv.Name), func(c cluster.Choice) bool { return c.Node == node && c.Damped })
}

func checked(sv fsm.Service) string {
	if sv.Checked() {
		return " and its checks pass there"
	}
	return ""
}

// whoMay says whose demand counts, where not everybody's does.
func whoMay(sv fsm.Service) string {
	var words []string
	if len(sv.Wake.Allow) > 0 {
		words = append(words, "only from "+joined(sv.Wake.Allow))
	}
	if len(sv.Wake.Deny) > 0 {
		words = append(words, "never from "+joined(sv.Wake.Deny))
	}
	if d := sv.Wake.AsleepAtLeast; d > 0 {
		words = append(words, "not before it has slept for "+d.String())
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, "; ") + ")"
}

func joined(list []netip.Prefix) string {
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

func portList(sv fsm.Service) string {
	var list []string
	for _, p := range sv.Ports {
		list = append(list, fmt.Sprintf("%d/%s", p.Number, p.Protocol))
	}
	return strings.Join(list, ", ")
}

// goings are what takes a service from a target that serves.
func goings(v cluster.View, sv fsm.Service, own fsm.Ownership) (out []api.Rule) {
	heir := v.Heir(sv.Name)
	if n := v.State.Nodes[own.Owner]; n.Policy == fsm.Sleeps {
		to := "and there is nobody to take it now: so it may not sleep"
		switch {
		case slices.Contains(sv.Targets, heir):
			to = heir + " takes it first"
		case heir != "":
			to = heir + " takes it first, and wakes a target when a client asks"
		}
		out = append(out, api.Rule{Sentence: fmt.Sprintf("when %s goes to sleep, %s", own.Owner, to), Key: "power: sleeps"})
	}
	out = append(out, losses(v, sv, own)...)
	if sv.Checked() {
		to := "stays there for want of a better one"
		if heir != "" {
			to = "moves to " + heir
		}
		out = append(out, api.Rule{Sentence: fmt.Sprintf("when its checks fail on %s, it %s", own.Owner, to), Key: "checks: fall"})
	}
	if i := slices.Index(sv.Targets, own.Owner); i > 0 {
		out = append(out, api.Rule{
			Sentence: fmt.Sprintf("%s comes earlier in its targets and does not take it from a target that serves; somebody can move it", strings.Join(sv.Targets[:i], ", ")),
			Key:      "`nightporter move " + sv.Name + " " + sv.Targets[0] + "`",
		})
	}
	return out
}

// losses are what happens when the owner dies.
func losses(v cluster.View, sv fsm.Service, own fsm.Ownership) []api.Rule {
	heir := v.Heir(sv.Name)
	if heir == "" {
		return []api.Rule{{Sentence: "if " + own.Owner + " fell silent, nobody could take it now", Key: "failover: " + v.Timing.Failover.String()}}
	}
	return []api.Rule{{
		Sentence: fmt.Sprintf("if %s fell silent, %s would take it when its lease has run out", own.Owner, heir), Key: "failover: " + v.Timing.Failover.String(),
	}}
}

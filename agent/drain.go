package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// Drain begins a node's maintenance. The leader judges whether somebody else could hold what the node holds; without Force a drain that
// turns out to be too much changes no owner: the plan takes nothing from a node where nobody else can take it.
func (b *backend) Drain(ctx context.Context, q api.DrainQuery) (api.Drained, error) {
	tried := "drain " + q.Node
	state := b.machine.View().State
	if err := b.founded(state, tried); err != nil {
		return api.Drained{}, err
	}
	by := cmp.Or(api.CallerOf(ctx).Peer, b.cfg.Node)
	cmd := fsm.SetDrain{Node: q.Node, On: true, Force: q.Force, Text: strings.TrimSpace(q.Text), At: b.deps.Clock.Wall(), By: by}
	if late := belated(state, cmd); len(late) > 0 { // before it is forwarded: a leader of an older version has no such operation
		return api.Drained{}, tooOld(tried, late)
	}
	if c, err := b.forward(ctx, tried); err != nil || c != nil {
		return forwarded(err, func() (api.Drained, error) { return c.Drain(ctx, q) })
	}
	v := b.scene.view()
	if _, known := v.State.Nodes[q.Node]; !known {
		return api.Drained{}, api.UnknownNode(q.Node, slices.Sorted(maps.Keys(v.State.Nodes)))
	}
	if err := cluster.MayDrain(v, q.Node); err != nil && !q.Force {
		return api.Drained{}, api.Refused("cannot "+tried+": "+err.Error(), "wake or start another host first; with --force nobody holds the service from then on, and its clients get no answer")
	}
	held := owned(v.State, q.Node)
	res, err := b.proposer.commit(ctx, cmd)
	if err := outcome(tried, res, err); err != nil {
		return api.Drained{}, err
	}
	b.leader.bell.ring()
	if q.Wait {
		err = b.await(ctx, tried, func() bool { return b.givenUp(q.Node, held) })
	}
	return b.drained(q.Node, held), err
}

// tooOld refuses what a member would have to halt at.
func tooOld(tried string, late []string) error {
	return api.Refused("cannot "+tried+": "+strings.Join(slices.Sorted(slices.Values(late)), ", ")+" would have to stop: the version there does not know of it", "nothing was changed; upgrade every host first")
}

// givenUp says whether what a node held is open elsewhere, or with nobody, and of two hosts its vote as well, so that it may be switched
// off. What nobody else can take stays where it is.
func (b *backend) givenUp(node string, held map[string]fsm.Ownership) bool {
	state := b.machine.View().State
	if !cluster.Drained(state, node) {
		return false
	}
	for name := range held {
		own, defined := state.Ownerships[name], state.Services[name].Name != ""
		if defined && own.Owner != "" && b.post.opens.at(name) < own.Epoch {
			return false
		}
	}
	return !cluster.VoteLeaves(b.scene.view(), b.machine.View().Servers, node)
}

// drained tells how far a drain has come.
func (b *backend) drained(node string, held map[string]fsm.Ownership) api.Drained {
	v := b.scene.view()
	out := api.Drained{Node: node, Drain: drainOf(v.State, node), Moved: []api.Moved{}, Pending: []string{}, Nobody: []string{}, Notes: []string{}}
	for _, name := range slices.Sorted(maps.Keys(held)) {
		own := v.State.Ownerships[name]
		switch own.Owner {
		case "":
			out.Nobody = append(out.Nobody, name)
		case node:
			out.Pending = append(out.Pending, name)
		default:
			out.Moved = append(out.Moved, api.Moved{Service: name, From: node, To: own.Owner, Epoch: own.Epoch})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.State.Services)) {
		if sv := v.State.Services[name]; slices.Contains(sv.Targets, node) && !slices.ContainsFunc(sv.Targets, func(t string) bool {
			_, known := v.State.Nodes[t]
			return known && !v.State.Nodes[t].Maintenance
		}) {
			out.Notes = append(out.Notes, fmt.Sprintf("no target of service %s is left that is not in maintenance: clients wait at a front (hold) and wake nobody", name))
		}
	}
	if len(v.State.Nodes) == 2 && slices.Contains(cluster.Voters(b.machine.View().Servers), node) {
		out.Notes = append(out.Notes, node+" still has a vote, and nothing is decided without it: before you switch it off, wait until `nightporter members` shows the only vote at the other host")
	}
	return out
}

// Undrain ends a node's maintenance.
func (b *backend) Undrain(ctx context.Context, node string) error {
	tried := "undrain " + node
	state := b.machine.View().State
	if err := b.founded(state, tried); err != nil {
		return err
	}
	cmd := fsm.SetDrain{Node: node, At: b.deps.Clock.Wall(), By: cmp.Or(api.CallerOf(ctx).Peer, b.cfg.Node)}
	if late := belated(state, cmd); len(late) > 0 {
		return tooOld(tried, late)
	}
	if c, err := b.forward(ctx, tried); err != nil || c != nil {
		if err == nil {
			err = c.Undrain(ctx, node)
		}
		return err
	}
	if _, known := b.machine.View().State.Nodes[node]; !known {
		return api.UnknownNode(node, slices.Sorted(maps.Keys(b.machine.View().State.Nodes)))
	}
	res, err := b.proposer.commit(ctx, cmd)
	if err := outcome(tried, res, err); err != nil {
		return err
	}
	b.leader.bell.ring()
	return nil
}

// drainOf is a node's maintenance as the admin surface tells it.
func drainOf(state *fsm.State, node string) api.Drain {
	d := state.Drains[node]
	return api.Drain{Since: d.Since, By: d.By, Text: d.Text, Force: d.Force}
}

// drainSentence says that a node is in maintenance, "" = it is not. In status it stands behind what is wrong: somebody wanted it so.
func drainSentence(state *fsm.State, node string) string {
	if !state.Nodes[node].Maintenance {
		return ""
	}
	d := state.Drains[node]
	s := "node " + node + " is in maintenance"
	if !d.Since.IsZero() {
		s += fmt.Sprintf(" since %s UTC, by %s", d.Since.UTC().Format(time.DateTime), d.By)
	}
	if d.Text != "" {
		s += " (" + d.Text + ")"
	}
	return s + ": it gets no service, and is neither put to sleep by itself nor woken for clients, until `nightporter undrain " + node + "`"
}

// Drain implements api.Backend.
func (p patient) Drain(ctx context.Context, q api.DrainQuery) (api.Drained, error) {
	return insistently(ctx, p.backend, func() (api.Drained, error) { return p.backend.Drain(ctx, q) })
}

// Undrain implements api.Backend.
func (p patient) Undrain(ctx context.Context, node string) error {
	return p.again(ctx, func() error { return p.backend.Undrain(ctx, node) })
}

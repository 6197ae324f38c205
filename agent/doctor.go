package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/doctor"
	"nightporter/fsm"
)

// Doctor looks for what keeps this host, or all of them together, from working. A node that this one does not reach is asked by way of
// another that does: where a firewall lets pass one direction only, both ends are to be heard.
func (b *backend) Doctor(ctx context.Context, q api.DoctorQuery) (api.DoctorReport, error) {
	v := b.scene.view()
	peer := api.CallerOf(ctx).Peer
	switch {
	case q.Peers && peer != "":
		return api.DoctorReport{}, api.Invalid("a peer cannot have all nodes examined", "")
	case q.Peers:
		if err := b.founded(v.State, "examine all nodes"); err != nil {
			return api.DoctorReport{}, err
		}
		return b.doctorAll(ctx, v, q), nil
	case q.Node != "" && q.Node != b.cfg.Node:
		if _, known := v.State.Nodes[q.Node]; !known {
			return api.DoctorReport{}, api.UnknownNode(q.Node, slices.Sorted(maps.Keys(v.State.Nodes)))
		}
		return b.peer(q.Node).Doctor(ctx, api.DoctorQuery{Test: q.Test}) // that one passes nothing on
	}
	n, err := b.doctorHere(ctx, q.Test)
	return api.DoctorReport{Nodes: []api.DoctorNode{n}, Together: []api.Finding{}}, err
}

func (b *backend) doctorHere(ctx context.Context, test bool) (api.DoctorNode, error) {
	if b.deps.Examine == nil {
		return api.DoctorNode{}, api.Unavailable("examine this host", "there is nothing to look at in this world")
	}
	status, err := b.Status(ctx)
	if err != nil {
		return api.DoctorNode{}, err
	}
	at := b.deps.Clock.Wall()
	out := b.deps.Examine(ctx, status, test)
	out.At = at
	return out, nil
}

// doctorPatience is how long one node may take, beyond what an examination takes.
const doctorPatience = doctor.Patience + 2*time.Second

// doctorAll examines all nodes at one time.
func (b *backend) doctorAll(ctx context.Context, v cluster.View, q api.DoctorQuery) api.DoctorReport {
	names := slices.Sorted(maps.Keys(v.State.Nodes))
	nodes := make([]api.DoctorNode, len(names))
	var side sync.WaitGroup
	for i, name := range names {
		side.Go(func() { nodes[i] = b.doctorOne(ctx, v, v.State.Nodes[name], q) })
	}
	side.Wait()
	b.doctorDetours(ctx, nodes, q)
	return api.DoctorReport{Nodes: nodes, Together: doctor.Together(nodes)}
}

func (b *backend) doctorOne(ctx context.Context, v cluster.View, n fsm.Node, q api.DoctorQuery) api.DoctorNode {
	none := api.DoctorNode{Node: n.Name, State: string(n.Power), Findings: []api.Finding{}, Reached: []api.DoctorReach{}, Holds: []api.DoctorHold{}, Heard: []api.DoctorHeard{}, Frames: []api.DoctorFrames{}}
	if n.Power != fsm.Awake && q.Wake {
		if _, err := b.Wake(ctx, n.Name); err != nil {
			none.Detail = message(err)
			return none
		}
	} else if n.Power != fsm.Awake {
		none.Detail = "it was not woken for this"
		return none
	}
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	if n.Name == b.cfg.Node {
		out, err := b.doctorHere(ctx, q.Test)
		if err != nil {
			none.State, none.Detail = doctor.StateSilent, message(err)
			return none
		}
		return out
	}
	asked := b.deps.Clock.Wall()
	r, err := b.peer(n.Name).Doctor(ctx, api.DoctorQuery{Test: q.Test})
	if err != nil || len(r.Nodes) != 1 {
		none.State, none.Detail = doctor.StateSilent, "no answer came from it"
		if err != nil {
			none.Detail = message(err)
		}
		if api.CodeOf(err) == api.CodeVersion {
			none.State = doctor.StateOld
		}
		return none
	}
	out := r.Nodes[0]
	if out.Frames == nil { // of an older version
		out.Frames = []api.DoctorFrames{}
	}
	out.Off = clockOff(out.At, asked, b.deps.Clock.Wall())
	return out
}

// message is what went wrong, without what to do at the host that was not reached.
func message(err error) string {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// clockOff is by how much a clock that was read between two moments was wrong at least: what the way there and back, and the examination,
// may have taken is no fault of the clock.
func clockOff(read, from, to time.Time) api.Duration {
	switch {
	case read.Before(from):
		return api.Duration(read.Sub(from))
	case read.After(to):
		return api.Duration(read.Sub(to))
	}
	return 0
}

// doctorDetours asks those that gave no answer here by way of those that did.
func (b *backend) doctorDetours(ctx context.Context, nodes []api.DoctorNode, q api.DoctorQuery) {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	for i, n := range nodes {
		if n.State != doctor.StateSilent {
			continue
		}
		for _, via := range nodes {
			if via.State != doctor.StateExamined || via.Node == b.cfg.Node || ctx.Err() != nil {
				continue
			}
			asked := b.deps.Clock.Wall()
			r, err := b.peer(via.Node).Doctor(ctx, api.DoctorQuery{Node: n.Node, Test: q.Test})
			if err == nil && len(r.Nodes) == 1 {
				nodes[i] = r.Nodes[0]
				nodes[i].Via, nodes[i].Off = via.Node, clockOff(r.Nodes[0].At, asked, b.deps.Clock.Wall())
				break
			}
		}
	}
}

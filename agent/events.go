package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/fsm"
)

// Events tells a part of the cluster's story from this host's copy of the log, and waits for news if asked to.
func (b *backend) Events(ctx context.Context, q api.EventsQuery) (api.Events, error) {
	if err := checkKinds(q.Kinds); err != nil {
		return api.Events{}, err
	}
	changed, cancel := b.machine.Watch()
	defer cancel()
	end := time.NewTimer(min(time.Duration(q.Wait), api.WaitMost))
	defer end.Stop()
	for {
		view := b.machine.View()
		if err := b.founded(view.State, "tell the cluster's story"); err != nil {
			return api.Events{}, err
		}
		out := storyOf(view.State, q, b.deps.Clock.Wall())
		if len(out.Events) > 0 || out.Gap || q.Wait <= 0 {
			return out, nil
		}
		q.Cursor = out.Cursor // what was passed over is not looked at again
		select {
		case <-ctx.Done():
			return api.Events{}, ctx.Err()
		case <-end.C:
			return out, nil
		case <-changed:
		}
	}
}

func checkKinds(kinds []string) error {
	for _, k := range kinds {
		if !slices.Contains(fsm.EventKinds(), fsm.EventKind(k)) {
			var known []string
			for _, e := range fsm.EventKinds() {
				known = append(known, string(e))
			}
			return api.Invalid(fmt.Sprintf("there are no events of the kind %q", k), "the kinds are "+strings.Join(known, ", "))
		}
	}
	return nil
}

// storyOf is pure. The cursor goes to the end of what is known, whatever of it was asked for.
func storyOf(state *fsm.State, q api.EventsQuery, now time.Time) api.Events {
	floor, first, last := state.EventsKept()
	out := api.Events{Events: []api.Event{}, Cursor: q.Cursor}
	if q.Cursor.Index != 0 && q.Cursor.Index < floor {
		out.Gap = true
		if n := q.Cursor.Number; n != 0 && n < first {
			out.Skipped = first - 1 - n
		}
	}
	list := state.EventsAfter(q.Cursor.Index)
	if len(list) > 0 {
		out.Cursor = api.Cursor{Index: list[len(list)-1].Index, Number: last}
	}
	for _, e := range list {
		switch {
		case q.Since > 0 && e.At.Before(now.Add(-time.Duration(q.Since))):
		case len(q.Kinds) > 0 && !slices.Contains(q.Kinds, string(e.Kind)):
		case q.Service != "" && e.Service != q.Service:
		case q.Node != "" && !concernsNode(e, q.Node):
		default:
			out.Events = append(out.Events, toEvent(e))
		}
	}
	if q.Last > 0 {
		out.Events = out.Events[max(0, len(out.Events)-q.Last):]
	}
	return out
}

// concernsNode says whether an event is of a node: it is named, it got or gave an identity, or it votes from now on or no longer.
func concernsNode(e fsm.Event, node string) bool {
	switch e.Kind {
	case fsm.EventOwner:
		return e.From == node || e.To == node
	case fsm.EventVoters:
		was, is := slices.Contains(strings.Split(e.From, ","), node), slices.Contains(strings.Split(e.To, ","), node)
		return was != is
	}
	return e.Node == node
}

func toEvent(e fsm.Event) api.Event {
	return api.Event{
		Index: e.Index, At: e.At.UTC(), Kind: string(e.Kind), What: string(e.What), Service: e.Service, Node: e.Node, Epoch: e.Epoch, From: e.From, To: e.To,
		Reason: string(e.Reason), By: e.By, Wake: e.Wake, Detail: e.Detail, Sentence: e.Sentence(),
	}
}

// HistoryOf tells the changes of owner and the wakes, which are remembered the longest, and what else the story has.
func (b *backend) HistoryOf(_ context.Context, q api.HistoryQuery) (api.History, error) {
	state := b.machine.View().State
	if err := b.founded(state, "tell the history"); err != nil {
		return api.History{}, err
	}
	service, node, err := named(state, q.Name)
	if gone := strings.TrimPrefix(q.Name, "node/"); err != nil && remembered(state, gone) {
		service, node, err = "", gone, nil
	}
	if err != nil {
		return api.History{}, err
	}
	if q.Since < 0 {
		return api.History{}, api.Invalid("a history cannot begin in the future", "give a time from 0 on, like 24h")
	}
	return historyOf(state, service, node, q.Since, b.deps.Clock.Wall()), nil
}

// remembered says whether the story has a node of that name, though it is no member any more.
func remembered(state *fsm.State, node string) bool {
	return slices.ContainsFunc(state.EventsAfter(0), func(e fsm.Event) bool { return e.Node == node })
}

// historyOf is pure. Without a service and a node it is of all.
func historyOf(state *fsm.State, service, node string, since api.Duration, now time.Time) api.History {
	h := api.History{Service: service, Node: node, Changes: []api.Change{}, Wakes: []api.WakeRecord{}, Events: []api.Event{}}
	recent := func(at time.Time) bool { return since <= 0 || !at.Before(now.Add(-time.Duration(since))) }
	for _, name := range slices.Sorted(maps.Keys(state.History)) {
		for _, c := range state.History[name] {
			if (service == "" || name == service) && (node == "" || c.From == node || c.To == node) && recent(c.At) {
				h.Changes = append(h.Changes, change(name, c))
			}
		}
	}
	slices.SortStableFunc(h.Changes, func(a, b api.Change) int { return int(min(max(int64(a.Index)-int64(b.Index), -1), 1)) })
	for _, w := range state.Wakes {
		if (service == "" || concernsWake(state, w, service)) && (node == "" || w.Node == node) && recent(w.Started) {
			h.Wakes = append(h.Wakes, wakeRecord(w))
		}
	}
	for _, e := range state.EventsAfter(0) {
		switch {
		case e.Kind == fsm.EventOwner || e.Kind == fsm.EventWake || !recent(e.At):
		case service != "" && e.Service != service && !(e.Kind == fsm.EventPower && slices.Contains(state.Services[service].Targets, e.Node)):
		case node != "" && !concernsNode(e, node):
		default:
			h.Events = append(h.Events, toEvent(e))
		}
	}
	return h
}

// concernsWake: one for the quorum or for an operator names no service; it concerns those that run on the node.
func concernsWake(state *fsm.State, w fsm.Wake, service string) bool {
	return w.Service == service || (w.Service == "" && slices.Contains(state.Services[service].Targets, w.Node))
}

func change(service string, c fsm.Change) api.Change {
	return api.Change{
		Service: service, Index: c.Index, At: c.At, Epoch: c.Epoch, From: c.From, To: c.To, Reason: string(c.Reason), By: c.By, Detail: c.Detail,
	}
}

// named finds what a name stands for: a service, also one that was deleted, or a node; service/NAME and node/NAME say which. "" is neither.
func named(state *fsm.State, name string) (service, node string, err error) {
	kind, rest, qualified := strings.Cut(name, "/")
	_, isService := state.Ownerships[name]
	_, isDefined := state.Services[name]
	_, isNode := state.Nodes[name]
	switch {
	case name == "":
		return "", "", nil
	case qualified && kind == "service":
		if _, known := state.Ownerships[rest]; !known {
			if _, defined := state.Services[rest]; !defined {
				return "", "", api.UnknownService(rest, slices.Sorted(maps.Keys(state.Services)))
			}
		}
		return rest, "", nil
	case qualified && kind == "node":
		if _, known := state.Nodes[rest]; !known {
			return "", "", api.UnknownNode(rest, slices.Sorted(maps.Keys(state.Nodes)))
		}
		return "", rest, nil
	case (isService || isDefined) && isNode:
		return "", "", api.Invalid(fmt.Sprintf("%s is a service and a node", name), "write service/"+name+" or node/"+name)
	case isService || isDefined:
		return name, "", nil
	case isNode:
		return "", name, nil
	}
	return "", "", api.UnknownName(name, slices.Sorted(maps.Keys(state.Services)), slices.Sorted(maps.Keys(state.Nodes)))
}

package fsm

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// eventsOf derives what a command came to from the states before and after it. What a change of owner, power or definition means is read
// from the states themselves, whatever command made it. It is a pure function.
func eventsOf(before, after *State, c Command) []Event {
	var out []Event
	out = append(out, memberEvents(before, after, c)...)
	out = append(out, serviceEvents(before, after)...)
	out = append(out, powerEvents(before, after)...)
	out = append(out, ownerEvents(before, after)...)
	out = append(out, wakeEvents(before, after, c)...)
	out = append(out, fitnessEvents(before, after)...)
	return append(out, settingEvents(before, after)...)
}

// stampOf gives when and by whom a command was proposed, as far as it says so.
func stampOf(c Command) (at time.Time, by string) {
	switch c := c.(type) {
	case Found:
		return c.Cluster.Created, c.By
	case PutNode:
		return c.At, c.Node.Name
	case RemoveNode:
		return c.At, ""
	case SetPower:
		return c.At, c.By
	case PutService:
		return c.At, c.By
	case DeleteService:
		return c.At, c.By
	case Assign:
		return c.At, c.By
	case SetFailover:
		return c.At, c.By
	case SetInrush:
		return c.At, c.By
	case SetDrain:
		return c.At, c.By
	case LiftEpochs:
		return c.At, c.By
	case BeginWake:
		return c.Wake.Started, c.Wake.By
	case EndWake:
		return c.At, ""
	case JudgeWake:
		return time.Time{}, c.By
	case ReportFitness:
		return c.At, c.Node
	case BeginCanary:
		return c.At, c.By
	case EndCanary:
		return c.At, ""
	case JudgeFitness:
		return c.At, c.By
	}
	return time.Time{}, "" // the time of the event before counts
}

// names gives the keys of two tables that may differ, sorted: none where both are the same table, as Apply shares what did not change.
func names[V any](a, b map[string]V) []string {
	if reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer() {
		return nil
	}
	all := slices.AppendSeq(make([]string, 0, len(a)+len(b)), maps.Keys(a))
	all = slices.AppendSeq(all, maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}

func memberEvents(before, after *State, c Command) (out []Event) {
	if c, ok := c.(RemoveNode); ok && !hasNode(before, c.Name) { // it was done, so it was lost
		out = append(out, Event{Kind: EventMember, What: Forgotten, Node: c.Name})
	}
	for _, name := range names(before.Nodes, after.Nodes) {
		old, was := before.Nodes[name]
		now, is := after.Nodes[name]
		switch {
		case !was:
			out = append(out, Event{Kind: EventMember, What: Joined, Node: name, Reason: now.PowerReason, Detail: character(now)})
		case !is:
			e := Event{Kind: EventMember, What: Removed, Node: name}
			if c, ok := c.(RemoveNode); ok {
				e.Reason = c.Reason
			}
			out = append(out, e)
		default:
			if changes := recordChanges(old, now); changes != "" {
				out = append(out, Event{Kind: EventMember, What: Altered, Node: name, Detail: changes})
			}
			if old.Power == now.Power && old.Sleeps == now.Sleeps && old.PowerReason == WokeUnasked && now.PowerReason == WokeUp { // wasCalled
				out = append(out, Event{Kind: EventMember, What: Corrected, Node: name, From: string(old.PowerReason), To: string(now.PowerReason), Reason: now.PowerReason})
			}
			if old.Maintenance != now.Maintenance {
				out = append(out, Event{Kind: EventMember, What: Maintained, Node: name, From: onOff(old.Maintenance), To: onOff(now.Maintenance), Detail: after.Drains[name].Text})
			}
		}
	}
	return out
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// character is what a node says of itself when it joins.
func character(n Node) string {
	words := []string{string(n.Policy)}
	if n.Role != Member {
		words = append(words, string(n.Role))
	}
	if n.Version != "" {
		words = append(words, n.Version)
	}
	return strings.Join(words, ", ")
}

// recordChanges says in words what of a node's own record is otherwise now.
func recordChanges(old, now Node) string {
	var words []string
	differ := func(what, a, b string) {
		if a != b {
			words = append(words, fmt.Sprintf("%s %s -> %s", what, orNone(a), orNone(b)))
		}
	}
	differ("version", old.Version, now.Version)
	differ("power", string(old.Policy), string(now.Policy))
	differ("role", string(old.Role), string(now.Role))
	differ("address", old.Addr.String(), now.Addr.String())
	differ("wake", macs(old.Wake), macs(now.Wake))
	if old.Key != now.Key {
		words = append(words, "another key")
	}
	return clip(strings.Join(words, "; "))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func macs(list []MAC) string {
	words := make([]string, len(list))
	for i, m := range list {
		words[i] = m.String()
	}
	return strings.Join(words, ",")
}

func powerEvents(before, after *State) (out []Event) {
	for _, name := range names(before.Nodes, after.Nodes) {
		old, was := before.Nodes[name]
		now, is := after.Nodes[name]
		if was && is && (old.Power != now.Power || old.Sleeps != now.Sleeps) {
			out = append(out, Event{Kind: EventPower, Node: name, From: string(old.Power), To: string(now.Power), Reason: now.PowerReason, At: now.PowerSince})
		}
	}
	return out
}

func ownerEvents(before, after *State) (out []Event) {
	for _, name := range names(before.Ownerships, after.Ownerships) {
		old, now := before.Ownerships[name], after.Ownerships[name]
		if old.Epoch == now.Epoch {
			continue
		}
		e := Event{Kind: EventOwner, Service: name, Epoch: now.Epoch, From: old.Owner, To: now.Owner, Reason: now.Reason, By: now.By, At: now.Since}
		if h := after.History[name]; len(h) > 0 && h[len(h)-1].Epoch == now.Epoch {
			last := h[len(h)-1]
			e.Reason, e.By, e.At, e.Detail = last.Reason, last.By, last.At, clip(last.Detail) // a lift leaves another reason in the record
		}
		out = append(out, e)
	}
	return out
}

func serviceEvents(before, after *State) (out []Event) {
	for _, name := range names(before.Services, after.Services) {
		old, was := before.Services[name]
		now, is := after.Services[name]
		e := Event{Kind: EventService, Service: name}
		switch {
		case !was:
			e.What, e.Detail = Defined, strings.Join(definition(now), "; ")
		case !is:
			e.What = Deleted
		case sameDefinition(old, now):
			continue
		default:
			e.What, e.Detail = Altered, definitionChanges(old, now)
		}
		e.Detail = clip(e.Detail)
		out = append(out, e)
	}
	return out
}

// definition says a definition in words, a part each.
func definition(sv Service) []string {
	var addresses, ports []string
	for _, a := range sv.Addresses {
		addresses = append(addresses, a.String())
	}
	for _, p := range sv.Ports {
		port := fmt.Sprintf("%d/%s", p.Number, p.Protocol)
		if p.Hold != "" {
			port += " " + string(p.Hold)
		}
		ports = append(ports, port)
	}
	mac := sv.MAC.String()
	if sv.Mode == ModeAddress {
		mac = "the holder's"
	}
	return []string{
		"addresses " + strings.Join(addresses, ","), "mac " + mac, "ports " + strings.Join(ports, ","),
		"targets " + orNone(strings.Join(sv.Targets, ",")), "hold " + string(sv.Hold),
	}
}

// definitionChanges says which parts are otherwise now.
func definitionChanges(old, now Service) string {
	var words []string
	was, is := definition(old), definition(now)
	for i := range is {
		if was[i] != is[i] {
			_, before, _ := strings.Cut(was[i], " ")
			words = append(words, is[i]+" (were "+before+")")
		}
	}
	for _, other := range []struct {
		what string
		same bool
	}{
		{"replay", old.Replay == now.Replay},
		{"checks", slices.Equal(old.Checks, now.Checks)},
		{"unit", old.Unit == now.Unit},
		{"wake rules", old.Wake.equal(now.Wake)},
	} {
		if !other.same {
			words = append(words, other.what)
		}
	}
	return strings.Join(words, "; ")
}

// wakeEvents goes by the command: the records are many, and only these three make such an event.
func wakeEvents(before, after *State, c Command) []Event {
	find := func(s *State, id string) (Wake, bool) {
		i := slices.IndexFunc(s.Wakes, func(w Wake) bool { return w.ID == id })
		if i < 0 {
			return Wake{}, false
		}
		return s.Wakes[i], true
	}
	var id string
	e := Event{Kind: EventWake}
	switch c := c.(type) {
	case BeginWake:
		id, e.What = c.Wake.ID, Begun
	case EndWake:
		id, e.What = c.ID, Ended
	case JudgeWake:
		id, e.What = c.ID, Judged
	default:
		return nil
	}
	w, ok := find(after, id)
	if !ok {
		return nil
	}
	old, _ := find(before, id)
	e.Wake, e.Node, e.Service = w.ID, w.Node, w.Service
	switch {
	case e.What == Begun:
		e.Reason, e.Detail = w.Cause, strings.TrimSpace(w.Client+" "+w.Port)
	case e.What == Ended && old.Ended.IsZero():
		e.Reason = w.Result
		if took := w.Ended.Sub(w.Started); took >= 0 {
			e.Detail = "after " + took.Round(time.Millisecond).String()
		}
	case e.What == Judged && old.Verdict != w.Verdict:
		e.To = string(w.Verdict)
	default:
		return nil
	}
	return []Event{e}
}

func fitnessEvents(before, after *State) (out []Event) {
	for _, name := range names(before.Fitness, after.Fitness) {
		if !hasNode(after, name) { // forgotten with its node
			continue
		}
		old, now := before.Fitness[name], after.Fitness[name]
		e := Event{Kind: EventFitness, Node: name, Wake: now.Canary.ID}
		switch {
		case old.Canary.ID != now.Canary.ID:
			e.What = CanaryBegun
			if e.Reason = OperatorSleep; now.Canary.Auto {
				e.Reason = NodeIdle
			}
		case old.Canary.Result != now.Canary.Result:
			e.What, e.Reason, e.Detail = CanaryEnded, now.Canary.Result, now.Canary.Detail
		case old.Revoked != now.Revoked && now.Revoked.Reason != "":
			e.What, e.Reason, e.Detail, e.Wake = Revoked, now.Revoked.Reason, now.Revoked.Detail, ""
		case !old.Since.Equal(now.Since):
			e.What, e.Reason, e.Wake = Accepted, CanaryAccepted, ""
		default:
			continue
		}
		out = append(out, e)
	}
	return out
}

func settingEvents(before, after *State) (out []Event) {
	if a, b := before.floor(), after.floor(); a != b && after.Lifted != nil && after.Lifted != before.Lifted {
		out = append(out, Event{Kind: EventSetting, What: OfFloor, From: fmt.Sprint(a), To: fmt.Sprint(b), Reason: EpochsLifted, Detail: "cluster " + after.Lifted.From})
	}
	if a, b := before.Timing.Failover, after.Timing.Failover; a != b && a != 0 {
		out = append(out, Event{Kind: EventSetting, What: OfFailover, From: a.String(), To: b.String()})
	}
	if a, b := before.InrushLimit(), after.InrushLimit(); a != b {
		out = append(out, Event{Kind: EventSetting, What: OfInrush, From: limitWord(a), To: limitWord(b)})
	}
	return out
}

func limitWord(n int) string {
	if n == 0 {
		return "any number"
	}
	return fmt.Sprint(n)
}

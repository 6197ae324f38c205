package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

const (
	lookEvery = 20 * time.Millisecond
	// askLimit bounds one question, so that an agent that hangs does not use up its step's time unseen.
	askLimit = time.Second
)

// await looks until nothing is missing. When the step's time is over, the failure quotes what was missing last.
func await(ctx context.Context, want string, look func(context.Context) (missing string)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := "nothing yet"
	for {
		missing := look(ctx)
		if missing == "" {
			return nil
		}
		if ctx.Err() == nil { // else it was the end of the time that spoke
			last = missing
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &Failure{Want: want, Seen: fmt.Sprintf("%s (%v)", last, context.Cause(ctx))}
		}
	}
}

// status asks one agent.
func (s *story) status(ctx context.Context, host string) (st api.Status, missing string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	c := s.lab.Host(host).API()
	st, err := c.Status(ctx)
	if err != nil {
		return st, fmt.Sprintf("%s: %v", host, err)
	}
	return st, ""
}

// awaitHolder waits until exactly one of the hosts says that it holds the service in that role with its fence open, and
// is the owner by the log.
func (s *story) awaitHolder(ctx context.Context, role string, among ...string) (found api.ServiceStatus, err error) {
	want := fmt.Sprintf("one of %s is %s %s", strings.Join(among, ", "), role, service)
	err = await(ctx, want, func(ctx context.Context) string {
		var words []string
		n := 0
		for _, h := range among {
			st, missing := s.status(ctx, h)
			if missing != "" {
				return missing
			}
			i := slices.IndexFunc(st.Services, func(sv api.ServiceStatus) bool { return sv.Name == service })
			if i < 0 {
				return h + " does not know the service"
			}
			sv := st.Services[i]
			if sv.Fence.State == "open" && sv.Role == role && sv.Owner == h {
				found = sv
				n++
			}
			words = append(words, fmt.Sprintf("%s says that %s owns it under epoch %d, and is itself %s with the fence %s %q",
				h, sv.Owner, sv.Epoch, sv.Role, sv.Fence.State, st.Problems))
		}
		if n != 1 {
			return strings.Join(words, "; ")
		}
		return ""
	})
	return found, err
}

// host tells what the lab knows of a host.
func (s *story) host(ctx context.Context, name string) (lab.HostStatus, error) {
	want := "the lab tells the state of " + name
	st, err := s.lab.Status(ctx)
	if err != nil {
		return lab.HostStatus{}, &Failure{Want: want, Seen: err.Error()}
	}
	i := slices.IndexFunc(st.Hosts, func(h lab.HostStatus) bool { return h.Name == name })
	if i < 0 {
		return lab.HostStatus{}, &Failure{Want: want, Seen: "it has no such host"}
	}
	return st.Hosts[i], nil
}

// history asks the first living always-on host.
func (s *story) history(ctx context.Context) (api.History, error) {
	asker := s.awake()[0]
	c := s.lab.Host(asker).API()
	h, err := c.History(ctx, service)
	if err != nil {
		return h, &Failure{Want: asker + " tells the history of " + service, Seen: err.Error()}
	}
	return h, nil
}

// awaitFrame waits until the watch has read a frame: it may lag behind what the agents say.
func (s *story) awaitFrame(ctx context.Context, want string, pick func([]lab.Frame) (lab.Frame, bool)) (found lab.Frame, err error) {
	err = await(ctx, want, func(context.Context) string {
		f, ok := pick(s.wire.all())
		if !ok {
			return "no such frame at the switch"
		}
		found = f
		return ""
	})
	return found, err
}

// trace is what one connection attempt set going.
type trace struct {
	syn, magic, open lab.Frame // at the front; from it; the target's first one with the identity
	syns             int       // that reached any host until the connection stood
	up               lab.HostStatus
	record           api.WakeRecord
	change           api.Change
}

// trace collects it and checks its order: all clocks are the same one.
func (s *story) trace(ctx context.Context, r lab.Reply) (t trace, err error) {
	connected := r.Began.Add(r.Connected)
	if t.syn, err = s.awaitFrame(ctx, "the SYN reaches the front "+s.front, first(arrives(s.front), s.web.isSYN, after(r.Began))); err != nil {
		return t, err
	}
	card := s.lab.Host(target).MAC()
	if t.magic, err = s.awaitFrame(ctx, "the front sends a magic packet", first(from(s.front), wakes(card), after(t.syn.Time))); err != nil {
		return t, err
	}
	if t.open, err = s.awaitFrame(ctx, target+" uses the identity", first(from(target), s.web.uses, after(t.magic.Time))); err != nil {
		return t, err
	}
	t.syns = count(s.wire.all(), from(client), s.web.isSYN, after(r.Began), before(connected))
	if t.up, err = s.host(ctx, target); err != nil {
		return t, err
	}
	err = await(ctx, "the history tells of the wake and of the hand-over", func(ctx context.Context) string {
		h, err := s.history(ctx)
		if err != nil {
			return err.Error()
		}
		i := slices.IndexFunc(h.Wakes, func(w api.WakeRecord) bool {
			return w.Node == target && w.Cause == "demand" && w.Started.After(r.Began)
		})
		if i < 0 || h.Wakes[i].Ended.IsZero() || len(h.Changes) == 0 {
			return fmt.Sprintf("the wakes are %+v", h.Wakes)
		}
		t.record, t.change = h.Wakes[i], h.Changes[len(h.Changes)-1]
		if t.change.To != target {
			return fmt.Sprintf("the last change is to %s under epoch %d", t.change.To, t.change.Epoch)
		}
		return ""
	})
	if err != nil {
		return t, err
	}
	return t, inOrder(
		moment{"the SYN", t.syn.Time}, moment{"the magic packet", t.magic.Time}, moment{target + " running", t.up.Since},
		moment{"the change of owner", t.change.At}, moment{target + " using the identity", t.open.Time}, moment{"connect()'s success", connected},
	)
}

// moment is something that happened.
type moment struct {
	what string
	at   time.Time
}

// inOrder checks that each moment is after the one before it.
func inOrder(all ...moment) error {
	for i, m := range all[1:] {
		if m.at.Before(all[i].at) {
			return &Failure{Want: fmt.Sprintf("%s comes after %s", m.what, all[i].what), Seen: fmt.Sprintf("it was %s earlier", ms(all[i].at.Sub(m.at)))}
		}
	}
	return nil
}

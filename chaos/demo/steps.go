package demo

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// meet waits until the cluster is founded and the target serves.
func (s *story) meet(ctx context.Context) error {
	s.say(time.Now(), "lab", "h1, h2, h3 (always on), h4 (may sleep) and the client c1 are switched on; one switch joins them")
	var leader string
	var voters []string
	var joined time.Time // when the last one did
	err := await(ctx, "all four hosts are in one cluster with three voters", func(ctx context.Context) string {
		for k := 1; k <= hosts; k++ {
			st, missing := s.status(ctx, fmt.Sprintf("h%d", k))
			if missing == "" {
				missing = whole(st)
			}
			if missing != "" {
				return missing
			}
			leader, voters = st.Leader, st.Quorum.Voters
			joined = slices.MaxFunc(st.Nodes, func(a, b api.NodeStatus) int { return a.Since.Compare(b.Since) }).Since
		}
		return ""
	})
	if err != nil {
		return err
	}
	s.say(joined, "cluster", "is founded: %s vote, %s leads", strings.Join(voters, ", "), leader)
	sv, err := s.awaitHolder(ctx, "serving", target)
	if err != nil {
		return err
	}
	s.web = identity{mac: net.HardwareAddr(sv.MAC), ip: lab.ServiceAddr()}
	s.say(sv.Since, target, "serves %s at %s with the MAC %s (epoch %d)", service, door(), sv.MAC, sv.Epoch)
	return nil
}

// whole says what an agent's view of the founded cluster lacks.
func whole(st api.Status) string {
	if st.Leader == "" {
		return st.Node + " knows no leader"
	}
	if len(st.Nodes) != hosts || len(st.Quorum.Voters) != hosts-1 {
		return fmt.Sprintf("%s sees %d hosts, and the voters are %v", st.Node, len(st.Nodes), st.Quorum.Voters)
	}
	for _, n := range st.Nodes {
		if !n.Alive || n.Power != "awake" {
			return fmt.Sprintf("%s says that %s is %s (alive: %v)", st.Node, n.Name, n.Power, n.Alive)
		}
	}
	return ""
}

// sleep puts the target to sleep and waits until it is frozen and a front holds.
func (s *story) sleep(ctx context.Context) error {
	asker := s.awake()[0]
	s.say(time.Now(), asker, "$ nightporter sleep %s", target)
	c := s.lab.Host(asker).API()
	if _, err := c.Sleep(ctx, target); err != nil {
		return &Failure{Want: target + " hands over and suspends", Seen: err.Error()}
	}
	if err := s.lab.Host(target).AwaitPower(ctx, lab.PowerAsleep); err != nil {
		return &Failure{Want: "the host " + target + " is asleep", Seen: err.Error()}
	}
	sv, err := s.awaitHolder(ctx, "holding", s.awake()...)
	if err != nil {
		return err
	}
	s.front = sv.Owner
	st, err := s.host(ctx, target)
	if err != nil {
		return err
	}
	open, err := s.awaitFrame(ctx, s.front+" announces the identity", first(from(s.front), s.web.uses, after(sv.Since)))
	if err != nil {
		return err
	}
	s.say(open.Time, s.front, "is the front: holds %s and answers no connection (epoch %d)", lab.ServiceAddr(), sv.Epoch)
	s.say(st.Since, target, "sleeps: its processes are frozen, its card listens for magic packets only")
	return nil
}

// wake lets the client connect once and shows what that set going.
func (s *story) wake(ctx context.Context) error {
	before, err := s.host(ctx, target)
	if err != nil {
		return err
	}
	if before.Power != lab.PowerAsleep {
		return &Failure{Want: target + " sleeps until somebody connects", Seen: fmt.Sprintf("it is %s, woken by %s", before.Power, before.WokenBy)}
	}
	s.say(time.Now(), client, "calls connect() to %s, once", door())
	r, err := s.lab.Host(client).Connect(ctx, door())
	if err != nil {
		return &Failure{Want: "the connection attempt wakes " + target + " and succeeds", Seen: err.Error() + s.powerNow(ctx)}
	}
	if r.Host != target {
		return &Failure{Want: target + " answers the client", Seen: "the answer came from " + r.Host}
	}
	t, err := s.trace(ctx, r)
	if err != nil {
		return err
	}
	s.tellWake(r, t)
	_, err = s.awaitHolder(ctx, "serving", target)
	return err
}

// powerNow adds to a failure what the target does. The step's time may be over.
func (s *story) powerNow(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	st, err := s.host(ctx, target)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("; the host %s is %s since %s", target, st.Power, st.Since.Format("15:04:05.000"))
}

// tellWake tells what led from the SYN to the answer, in the order in which it happened.
func (s *story) tellWake(r lab.Reply, t trace) {
	var lines []Line
	add := func(at time.Time, who, format string, args ...any) {
		lines = append(lines, Line{At: at.Sub(s.began), Who: who, Text: fmt.Sprintf(format, args...)})
	}
	add(t.syn.Time, s.front, "gets the SYN and stays silent")
	add(t.magic.Time, s.front, "sends the first magic packet for %s, %s after the SYN", target, ms(t.magic.Time.Sub(t.syn.Time)))
	add(t.up.Since, target, "runs again, woken by a %s", t.up.WokenBy)
	add(t.record.Ended, target, "is back in the cluster (it was woken for %s, who wants %s)", t.record.Client, t.record.Port)
	add(t.change.At, "cluster", "gives %s from %s to %s (epoch %d, %s)", service, t.change.From, t.change.To, t.change.Epoch, t.change.Reason)
	add(t.open.Time, target, "uses the MAC and the address, %s after the decision", ms(t.open.Time.Sub(t.change.At)))
	add(r.Began.Add(r.Connected), client, "connect() succeeds after %s; the client's kernel had sent %d SYNs", ms(r.Connected), t.syns)
	add(r.Began.Add(r.Answered), client, "reads the answer: it comes from %s", r.Host)
	slices.SortStableFunc(lines, func(a, b Line) int { return cmp.Compare(a.At, b.At) })
	for _, l := range lines {
		s.tell(l)
	}
}

// kill takes the front's power away and waits for another one.
func (s *story) kill(ctx context.Context) error {
	at, err := s.lab.Host(s.front).Kill(ctx)
	if err != nil {
		return &Failure{Want: "the lab switches " + s.front + " off", Seen: err.Error()}
	}
	s.dead = s.front
	s.say(at, s.dead, "is dead: no power, no process, no farewell")
	sv, err := s.awaitHolder(ctx, "holding", s.awake()...)
	if err != nil {
		return err
	}
	s.front = sv.Owner
	seen, err := s.awaitFrame(ctx, "the client hears "+s.front+" announce the identity", first(arrives(client), s.web.uses, after(at)))
	if err != nil {
		return err
	}
	s.say(sv.Since, "cluster", "gives %s from %s to %s (epoch %d, %s)", service, s.dead, s.front, sv.Epoch, sv.Reason)
	s.say(seen.Time, client, "hears the new holder's first ARP, %s after the death", ms(seen.Time.Sub(at)))
	s.say(time.Now(), s.front, "is the front now; %s sleeps on", target)
	return nil
}

// turns is how often a host begins to use the identity: the target, a front, the target, a front, another one, the target.
const turns = 6

// judge compares what was on the wire with what the cluster decided.
func (s *story) judge(ctx context.Context) error {
	h, err := s.history(ctx)
	if err != nil {
		return err
	}
	if err := s.wire.stop(); err != nil {
		return &Failure{Want: "no frame escapes the watch at the switch", Seen: err.Error()}
	}
	v := s.web.judge(s.wire.all(), h.Changes)
	s.say(time.Now(), "switch", "frames with mac0: %d, two holders at once: %d", v.frames, len(v.overlaps))
	s.say(time.Now(), "switch", "holders in the order of their frames: %s", strings.Join(v.order, ", "))
	if len(v.overlaps) > 0 {
		return &Failure{Want: "no host uses the identity out of turn", Seen: strings.Join(v.overlaps, "; ")}
	}
	if len(v.order) < turns {
		return &Failure{Want: fmt.Sprintf("the identity changed hands %d times", turns-1), Seen: fmt.Sprint(v.order)}
	}
	s.say(time.Now(), "", "Done in %.1f s: every step went as it should", time.Since(s.began).Seconds())
	return nil
}

// awake lists the always-on hosts that live.
func (s *story) awake() []string {
	return slices.DeleteFunc([]string{"h1", "h2", "h3"}, func(h string) bool { return h == s.dead })
}

// ms rounds for the eye: tenths below ten milliseconds.
func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
}

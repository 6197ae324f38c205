package idle

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Name is what a reason to be awake is called, in `why`, in the log and in tests.
type Name string

// The reasons.
const (
	Flows       Name = "flows"       // clients use a service of this host, or one of the ports that count
	Users       Name = "users"       // somebody is logged in
	Inhibitor   Name = "inhibitor"   // a program asked logind not to let the host sleep
	Load        Name = "load"        // processes compute, or wait for a disk
	Network     Name = "network"     // the LAN interface carries much
	Process     Name = "process"     // a program runs that counts
	Unit        Name = "unit"        // a systemd unit is active that counts
	Command     Name = "command"     // a command says so
	Hook        Name = "hook"        // an executable in the checks directory says so
	Schedule    Name = "schedule"    // the host is to be awake at this time of the week
	Maintenance Name = "maintenance" // an operator works on it
	Minimum     Name = "minimum"     // it came up a moment ago
	Quorum      Name = "quorum"      // the cluster cannot do without it
	Unfit       Name = "unfit"       // it has not shown that it can be woken, or could not be
	Waking      Name = "waking"      // it is waking another host
	Retry       Name = "retry"       // it was to sleep and could not; it tries again later
	Unknown     Name = "unknown"     // something that could be a reason cannot be found out
)

// Kind says what a reason does to the time for which nobody needs the host.
type Kind string

// The kinds.
const (
	Use  Kind = "use"  // the host is used: that time begins when the last use has ended
	Hold Kind = "hold" // it must not sleep now; the time goes on
)

// Reason is one reason to be awake.
type Reason struct {
	Name     Name
	Kind     Kind
	Subject  string // tells reasons of one name apart: a service, a user, a program
	Sentence string // for people: what is so
}

// same says whether two samples show the same reason; its sentence may have changed.
func (r Reason) same(o Reason) bool { return r.Name == o.Name && r.Subject == o.Subject }

// Standing is a reason that holds, or held.
type Standing struct {
	Reason
	Since time.Duration
	Until time.Duration // when it was last seen
}

// Rules are what the configuration says about sleeping.
type Rules struct {
	Idle    time.Duration // for so long nobody may have used the host; 0 = it does not sleep by itself
	AtLeast time.Duration // it stays awake after it came up
	Late    time.Duration // after which a sample is late: what was since the last one counts as unknown, and so as use; 0 = never
	Awake   []Span        // the times of the week at which it stays awake
}

// Sample is what was found at one moment.
type Sample struct {
	Now         time.Duration
	Wall        time.Time // in the time zone of this host, for the schedule
	Reasons     []Reason
	Maintenance bool
}

// State is what a host does about sleeping.
type State string

// The states.
const (
	Off   State = "off"   // it does not sleep by itself
	Busy  State = "busy"  // somebody uses it
	Idle  State = "idle"  // nobody does, for less than the time that it takes
	Held  State = "held"  // nobody does, for long enough, but something keeps it awake
	Sleep State = "sleep" // it is to sleep now
)

// Verdict is what follows from the samples.
type Verdict struct {
	State   State
	Reasons []Standing // why it is awake, the oldest first
	Since   time.Duration
	SleepAt time.Duration // when it sleeps if nothing happens; 0 while it is used
	Last    Standing      // the use that ended last; no name = none since the host came up
}

// Watch follows the reasons of one host. It begins when the host came up, or its agent did.
type Watch struct {
	rules    Rules
	began    time.Duration
	used     time.Duration // when the host was last seen in use
	looked   time.Duration
	standing []Standing
	last     Standing
}

// Begin makes a Watch of a host that came up now.
func Begin(r Rules, now time.Duration) Watch {
	return Watch{rules: r, began: now, used: now, looked: now}
}

// Look takes in a sample. Samples must come in the order of their time.
func (w *Watch) Look(s Sample) Verdict {
	all := slices.Concat(s.Reasons, w.holds(s))
	if gap := s.Now - w.looked; w.rules.Late > 0 && gap > w.rules.Late {
		w.used = s.Now // nobody knows what happened meanwhile
	}
	w.looked = s.Now
	w.standing = w.merge(all, s.Now)
	v := Verdict{State: Idle, Reasons: slices.Clone(w.standing), Since: w.used, Last: w.last}
	if slices.ContainsFunc(all, func(r Reason) bool { return r.Kind == Use }) {
		w.used = s.Now
		v.State, v.Since = Busy, w.first(Use)
	}
	switch {
	case w.rules.Idle <= 0:
		v.State = Off
		return v
	case v.State == Busy:
		return v
	}
	v.SleepAt = max(w.used+w.rules.Idle, w.began+w.rules.AtLeast)
	switch held := w.first(Hold); {
	case s.Now < w.used+w.rules.Idle: // holds are no news before
	case held >= 0:
		v.State, v.Since = Held, held
	default:
		v.State = Sleep
	}
	return v
}

// holds are the reasons that follow from the rules alone.
func (w *Watch) holds(s Sample) (out []Reason) {
	if s.Maintenance {
		out = append(out, Reason{Name: Maintenance, Kind: Hold, Sentence: "the host is in maintenance"})
	}
	if end := w.began + w.rules.AtLeast; s.Now < end {
		out = append(out, Reason{Name: Minimum, Kind: Hold, Sentence: fmt.Sprintf("it came up %s ago and stays awake for at least %s", round(s.Now-w.began), w.rules.AtLeast)})
	}
	for _, p := range w.rules.Awake {
		if p.Has(s.Wall) {
			out = append(out, Reason{Name: Schedule, Kind: Hold, Subject: p.String(), Sentence: fmt.Sprintf("its schedule wants it awake now (%s)", p)})
		}
	}
	return out
}

// merge keeps since when each reason holds, and which use ended last.
func (w *Watch) merge(all []Reason, now time.Duration) []Standing {
	var out []Standing
	for _, r := range all {
		if slices.ContainsFunc(out, func(o Standing) bool { return o.same(r) }) {
			continue
		}
		s := Standing{Reason: r, Since: now, Until: now}
		if i := slices.IndexFunc(w.standing, func(o Standing) bool { return o.same(r) }); i >= 0 {
			s.Since = w.standing[i].Since
		}
		out = append(out, s)
	}
	for _, o := range w.standing {
		gone := !slices.ContainsFunc(out, func(s Standing) bool { return s.same(o.Reason) })
		if gone && o.Kind == Use && o.Until >= w.last.Until {
			w.last = o
		}
	}
	slices.SortStableFunc(out, func(a, b Standing) int { return cmp.Compare(a.Since, b.Since) })
	return out
}

// first gives since when there is a reason of a kind, -1 = there is none.
func (w *Watch) first(k Kind) time.Duration {
	i := slices.IndexFunc(w.standing, func(s Standing) bool { return s.Kind == k })
	if i < 0 {
		return -1
	}
	return w.standing[i].Since
}

// round leaves what people want to read of a time.
func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

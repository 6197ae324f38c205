package wake

import (
	"math"
	"time"
)

// Never is the wait of something that is not going to happen by itself.
const Never = time.Duration(math.MaxInt64)

const (
	// DefaultTimeout is how long a host is called before its wake is given up: a cold boot with firmware checks takes
	// about a minute, a resume a few seconds.
	DefaultTimeout = 90 * time.Second
	// DefaultGap is the pause after a wake was given up, for the first time (GapMost). Demand in the pause is kept and answered at its end.
	DefaultGap = 10 * time.Second
	// ClientPatience is for how long a client may still wait that is not heard any more: Linux gives up 127 s after its first SYN
	// (tcp_syn_retries 6), 64 s after the last one.
	ClientPatience = 130 * time.Second
	// HelpAfter is when a helper sends its first packet, from when it was told of the wake. The host that saw the
	// demand has then called twice (at 0 and 250 ms); from here on the calls of the two alternate.
	HelpAfter = 500 * time.Millisecond
)

// Patience is ClientPatience where a connection may be held for so long at a front, which is heard of once.
func Patience(held time.Duration) time.Duration { return max(ClientPatience, held) }

// Backoff gives the time between call number n (from 1) and the next one: 250 ms, 500 ms, 1 s, 2 s, 4 s, then 5 s for good.
// A host that calls by itself calls at 0, 0.25, 0.75, 1.75, 3.75, 7.75, 12.75, 17.75 s and so on.
func Backoff(n int) time.Duration {
	const first, most = 250 * time.Millisecond, 5 * time.Second
	if n > 5 {
		return most
	}
	return first << max(0, n-1)
}

// Wake is the reason for a campaign: who is to be woken, and what for. The same ID stands in the messages to the other
// hosts and in the record of the wake.
type Wake struct {
	ID      string
	Node    string // who is to be woken
	Sleeps  uint64 // the count of that node's sleep which this wake is to end
	Service string // "" if no service asks
	Cause   string
	Client  string        // for demand: address and port of the client
	Port    string        // for demand: "tcp/8080"
	Limit   time.Duration // after which it has failed; 0 = the board's
	Hook    bool          // there is one more thing to try when the board's timeout is over
	Power   string        // of the record when it began: what the hook is told
	Patient bool          // a client's: it waits for the end of pauses that grow, for as long as the client does
}

// Kind says what is to be done.
type Kind int

// The kinds of Action.
const (
	Rest       Kind = iota // nothing is due
	Call                   // send magic packets; if the campaign is Own, also tell the other hosts
	Late                   // the limit is over, and there is a hook: others may be called meanwhile. The campaign goes on
	Escalate               // the board's timeout is over: try the hook. The campaign goes on for as long again
	GiveUp                 // the time is over; say so. The campaign has ended
	Begun                  // it was kept until a pause was over, and begins
	Superseded             // a wake for a later sleep has taken its place. The campaign has ended
)

// String gives the name for logs.
func (k Kind) String() string {
	switch k {
	case Rest:
		return "rest"
	case Call:
		return "call"
	case Late:
		return "late"
	case Escalate:
		return "escalate"
	case GiveUp:
		return "give-up"
	case Begun:
		return "begun"
	case Superseded:
		return "superseded"
	}
	return "unknown"
}

// Action is one step of a campaign.
type Action struct {
	Kind    Kind
	Wake    Wake
	Own     bool // began here (or demand came here since): this host tells the others and records the wake
	Attempt int  // of a Call: 1 for the first one here; of an end: the calls that were made
	Demands int  // demands that were answered by this campaign, the first one included

	Failures int           // of a GiveUp of its own: how many wakes of this host were given up in a row
	Pause    time.Duration // and the pause that begins
}

// Campaign is one wake as one host carries it out. It is a pure state machine: the caller passes the time in and does
// what Next says. Not safe for concurrent use.
type Campaign struct {
	wake     Wake
	own      bool
	started  time.Duration
	due      time.Duration // of the next call
	deadline time.Duration
	timeout  time.Duration // until the hook is tried, and after it: a host that was without power boots
	attempts int
	demands  int
	late     bool
	hooked   bool
	over     bool
}

// NewCampaign begins a wake on the host where the demand is: its first call is due at once.
func NewCampaign(now time.Duration, w Wake, timeout time.Duration) *Campaign {
	timeout = orDefault(timeout, DefaultTimeout)
	return &Campaign{wake: w, own: true, started: now, due: now, deadline: now + orDefault(w.Limit, timeout), timeout: timeout, demands: 1}
}

// HelpCampaign begins a wake on a host that was told of it.
func HelpCampaign(now time.Duration, w Wake, timeout time.Duration) *Campaign {
	c := NewCampaign(now, w, timeout)
	c.own, c.due, c.demands = false, now+HelpAfter, 0
	return c
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Next says what is due now, and how long to wait before asking again (Never when the campaign is over). However late it
// is asked, it calls once and counts the back-off from now; and it does not give up before it has called.
func (c *Campaign) Next(now time.Duration) (Action, time.Duration) {
	switch {
	case c.over:
		return Action{Kind: Rest}, Never
	case now >= c.deadline && c.attempts > 0 && c.own && c.wake.Hook && !c.late:
		c.late, c.deadline = true, max(now, c.started+c.timeout)
		return c.action(Late), c.wait(now)
	case now >= c.deadline && c.attempts > 0 && c.own && c.wake.Hook && !c.hooked:
		c.hooked, c.deadline = true, now+c.timeout
		return c.action(Escalate), c.wait(now)
	case now >= c.deadline && c.attempts > 0:
		c.over = true
		return c.action(GiveUp), Never
	case now >= c.due:
		c.attempts++
		c.due = now + Backoff(c.step())
		return c.action(Call), c.wait(now)
	}
	return Action{Kind: Rest}, c.wait(now)
}

// step is the number of the last call in the back-off: a helper enters at the place that the first host has reached.
func (c *Campaign) step() int {
	if c.own {
		return c.attempts
	}
	return c.attempts + 1
}

func (c *Campaign) wait(now time.Duration) time.Duration {
	if c.attempts == 0 {
		return c.due - now
	}
	// A deadline that has passed already is answered at the next question.
	return max(0, min(c.due, c.deadline)-now)
}

// Demand takes one more demand in. A helper becomes an owner by it and calls at once: the client came here, so the host
// that began may be gone.
func (c *Campaign) Demand(now time.Duration) {
	if c.over {
		return
	}
	c.demands++
	if !c.own {
		c.own, c.due = true, now
	}
}

// End ends the campaign: the host is back, or is not to be woken any more.
func (c *Campaign) End() { c.over = true }

func (c *Campaign) action(k Kind) Action {
	return Action{Kind: k, Wake: c.wake, Own: c.own, Attempt: c.attempts, Demands: c.demands}
}

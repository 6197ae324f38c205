package idle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// use and hold are reasons of the two kinds.
func use(name Name, subject string) Reason {
	return Reason{Name: name, Kind: Use, Subject: subject, Sentence: subject}
}

func hold(name Name) Reason { return Reason{Name: name, Kind: Hold, Sentence: string(name)} }

// saturday is a wall clock on which the schedule of the tests says nothing.
var saturday = time.Date(2026, 1, 3, 12, 0, 0, 0, time.UTC)

// A day in the life of a host: each line is a sample, and what must follow from it.
func TestWatch(t *testing.T) {
	const m = time.Minute
	office := []Span{{Days: 0b0111110, From: 7 * time.Hour, To: 20 * time.Hour}}
	type step struct {
		at      time.Duration
		wall    time.Time
		reasons []Reason
		work    bool // maintenance
		want    State
		why     string // the names of the reasons, the oldest first
		since   time.Duration
		sleepAt time.Duration
	}
	monday := func(clock time.Duration) time.Time {
		return time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).Add(clock)
	}
	web, jo, busy := use(Flows, "web"), use(Users, "jo"), hold(Quorum)
	for name, c := range map[string]struct {
		rules Rules
		steps []step
	}{
		"nobody comes": {Rules{Idle: 15 * m}, []step{
			{at: 0, want: Idle, sleepAt: 15 * m},
			{at: 14*m + 59*time.Second, want: Idle, sleepAt: 15 * m},
			{at: 15 * m, want: Sleep, sleepAt: 15 * m},
			{at: 16 * m, want: Sleep, sleepAt: 15 * m},
		}},
		"it does not sleep by itself": {Rules{}, []step{
			{at: 0, want: Off},
			{at: 1000 * m, want: Off},
			{at: 1001 * m, reasons: []Reason{web}, want: Off, why: "flows", since: 1001 * m},
		}},
		"the time begins when the last use has ended": {Rules{Idle: 15 * m}, []step{
			{at: 10 * m, reasons: []Reason{web}, want: Busy, why: "flows", since: 10 * m},
			{at: 12 * m, reasons: []Reason{jo, web}, want: Busy, why: "flows users", since: 10 * m},
			{at: 13 * m, reasons: []Reason{jo}, want: Busy, why: "users", since: 12 * m},
			{at: 14 * m, want: Idle, since: 13 * m, sleepAt: 28 * m},
			{at: 28 * m, want: Sleep, since: 13 * m, sleepAt: 28 * m},
		}},
		"a hold keeps it awake, and lets it go at once when it ends": {Rules{Idle: 5 * m}, []step{
			{at: 1 * m, reasons: []Reason{busy}, want: Idle, why: "quorum", sleepAt: 5 * m},
			{at: 6 * m, reasons: []Reason{busy}, want: Held, why: "quorum", since: 1 * m, sleepAt: 5 * m},
			{at: 60 * m, want: Sleep, sleepAt: 5 * m},
		}},
		"it stays awake for a while after it came up": {Rules{Idle: 1 * m, AtLeast: 10 * m}, []step{
			{at: 2 * m, want: Held, why: "minimum", since: 2 * m, sleepAt: 10 * m},
			{at: 10 * m, want: Sleep, sleepAt: 10 * m},
		}},
		"maintenance": {Rules{Idle: 1 * m}, []step{
			{at: 2 * m, work: true, want: Held, why: "maintenance", since: 2 * m, sleepAt: 1 * m},
			{at: 3 * m, want: Sleep, sleepAt: 1 * m},
		}},
		"the schedule": {Rules{Idle: 15 * m, Awake: office}, []step{
			{at: 30 * m, wall: monday(19*time.Hour + 59*m), want: Held, why: "schedule", since: 30 * m, sleepAt: 15 * m},
			{at: 31 * m, wall: monday(20 * time.Hour), want: Sleep, sleepAt: 15 * m},
		}},
		"a use that comes back is a new one": {Rules{Idle: 15 * m}, []step{
			{at: 1 * m, reasons: []Reason{web}, want: Busy, why: "flows", since: 1 * m},
			{at: 2 * m, want: Idle, since: 1 * m, sleepAt: 16 * m},
			{at: 3 * m, reasons: []Reason{web}, want: Busy, why: "flows", since: 3 * m},
		}},
		"two of a kind are two, one that is told twice is one": {Rules{Idle: 15 * m}, []step{
			{at: 1 * m, reasons: []Reason{web, use(Flows, "nas"), web}, want: Busy, why: "flows flows", since: 1 * m},
		}},
		"what nobody looked at was use": {Rules{Idle: 15 * m, Late: 50 * time.Second}, []step{
			{at: 10 * time.Second, want: Idle, sleepAt: 15 * m},
			{at: 14 * m, want: Idle, since: 0, sleepAt: 29 * m},
			{at: 14*m + 50*time.Second, want: Idle, since: 14 * m, sleepAt: 29 * m},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := Begin(c.rules, 0)
			for _, s := range c.steps {
				if s.wall.IsZero() {
					s.wall = saturday
				}
				v := w.Look(Sample{Now: s.at, Wall: s.wall, Reasons: s.reasons, Maintenance: s.work})
				var names []string
				for _, r := range v.Reasons {
					names = append(names, string(r.Name))
				}
				if why := strings.Join(names, " "); v.State != s.want || why != s.why || v.SleepAt != s.sleepAt || (s.want != Idle || s.since != 0) && v.Since != s.since {
					t.Errorf("at %v: %s since %v because of %q, sleeps at %v; want %s since %v because of %q, at %v", s.at, v.State, v.Since, why, v.SleepAt, s.want, s.since, s.why, s.sleepAt)
				}
			}
		})
	}
}

// `why` tells an idle host's visitor what kept it awake last.
func TestWatchRemembersTheLastUse(t *testing.T) {
	w := Begin(Rules{Idle: time.Hour}, 0)
	look := func(at time.Duration, reasons ...Reason) Standing {
		return w.Look(Sample{Now: at, Wall: saturday, Reasons: reasons}).Last
	}
	for _, c := range []struct {
		last Standing
		want string
	}{
		{look(1), ""},
		{look(2, use(Flows, "web"), hold(Quorum)), ""},
		{look(3, use(Flows, "web"), use(Users, "jo")), ""},
		{look(4, use(Users, "jo")), "flows web 2 3"},
		{look(5), "users jo 3 4"},
		{look(6, use(Users, "jo")), "users jo 3 4"},
		{look(7), "users jo 6 6"},
	} {
		got := ""
		if c.last.Name != "" {
			got = fmt.Sprintf("%s %s %d %d", c.last.Name, c.last.Subject, c.last.Since, c.last.Until)
		}
		if got != c.want {
			t.Errorf("the last use is %q, want %q", got, c.want)
		}
	}
}

// A verdict is a value: what is looked at later does not change it.
func TestVerdictsStay(t *testing.T) {
	w := Begin(Rules{Idle: time.Hour}, 0)
	v := w.Look(Sample{Now: 1, Wall: saturday, Reasons: []Reason{use(Flows, "web")}})
	before := slices.Clone(v.Reasons)
	w.Look(Sample{Now: 2, Wall: saturday, Reasons: []Reason{use(Flows, "web"), use(Users, "jo")}})
	if !slices.Equal(before, v.Reasons) {
		t.Errorf("%v became %v", before, v.Reasons)
	}
}

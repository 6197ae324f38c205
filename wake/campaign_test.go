package wake

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// play asks a campaign whenever it says so, until it is over, and gives the times of its calls from the start.
func play(t *testing.T, c *Campaign, now time.Duration) (calls []time.Duration, end Action, ended time.Duration) {
	t.Helper()
	start := now
	for range 1000 {
		a, wait := c.Next(now)
		switch a.Kind {
		case Call:
			calls = append(calls, now-start)
			if a.Attempt != len(calls) {
				t.Fatalf("call %d says that it is number %d", len(calls), a.Attempt)
			}
		case GiveUp:
			if wait != Never {
				t.Errorf("after the end: wait %v", wait)
			}
			return calls, a, now - start
		}
		if wait <= 0 {
			t.Fatalf("at %v: %v and a wait of %v", now-start, a.Kind, wait)
		}
		now += wait
	}
	t.Fatal("the campaign does not end")
	return nil, Action{}, 0
}

func TestBackoff(t *testing.T) {
	want := []time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 5000 * ms, 5000 * ms}
	for i, w := range want {
		if got := Backoff(i + 1); got != w {
			t.Errorf("after call %d: %v, want %v", i+1, got, w)
		}
	}
	for _, n := range []int{0, 6, 100, math.MaxInt} {
		if got := Backoff(n); got < 250*ms || got > 5*time.Second {
			t.Errorf("Backoff(%d) = %v", n, got)
		}
	}
}

func TestCampaignSchedule(t *testing.T) {
	tests := []struct {
		name    string
		make    func(time.Duration, Wake, time.Duration) *Campaign
		timeout time.Duration
		calls   string
		ended   time.Duration
	}{
		{"own", NewCampaign, 20 * time.Second, "[0s 250ms 750ms 1.75s 3.75s 7.75s 12.75s 17.75s]", 20 * time.Second},
		{"helper", HelpCampaign, 20 * time.Second, "[500ms 1s 2s 4s 8s 13s 18s]", 20 * time.Second},
		{"timeout at a call", NewCampaign, 750 * ms, "[0s 250ms]", 750 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const now = 1234 * time.Hour
			c := tt.make(now, Wake{ID: "w", Node: "t"}, tt.timeout)
			calls, end, ended := play(t, c, now)
			if fmt.Sprint(calls) != tt.calls || ended != tt.ended {
				t.Errorf("calls %v, end %v; want %s, %v", calls, ended, tt.calls, tt.ended)
			}
			if end.Attempt != len(calls) || end.Wake.ID != "w" || end.Own != (tt.name != "helper") {
				t.Errorf("end %+v", end)
			}
			if a, wait := c.Next(now + time.Hour); a.Kind != Rest || wait != Never {
				t.Errorf("after the end: %v, %v", a, wait)
			}
		})
	}
}

// It calls once even if the time is over before.
func TestCampaignTimeoutBeforeHelp(t *testing.T) {
	c := HelpCampaign(0, Wake{}, 100*ms)
	for _, want := range []Kind{Rest, Call, GiveUp} {
		at := HelpAfter
		if want == Rest {
			at = 0
		}
		if a, _ := c.Next(at); a.Kind != want {
			t.Fatalf("at %v: %v, want %v", at, a.Kind, want)
		}
	}
}

func TestCampaignDefaultTimeout(t *testing.T) {
	_, _, ended := play(t, NewCampaign(0, Wake{}, 0), 0)
	if ended != 90*time.Second {
		t.Errorf("gave up after %v", ended)
	}
}

// The host was busy or asleep: one call, not the missed ones, and the back-off goes on from there.
func TestCampaignAskedLate(t *testing.T) {
	c := NewCampaign(0, Wake{}, time.Minute)
	for _, k := range []struct {
		now  time.Duration
		kind Kind
		wait time.Duration
	}{
		{5 * time.Second, Call, 250 * ms},
		{20 * time.Second, Call, 500 * ms},
		{20100 * ms, Rest, 400 * ms},
		{20500 * ms, Call, time.Second},
		{time.Hour, GiveUp, Never},
	} {
		if a, wait := c.Next(k.now); a.Kind != k.kind || wait != k.wait {
			t.Fatalf("at %v: %v, %v, want %v, %v", k.now, a.Kind, wait, k.kind, k.wait)
		}
	}
	never := NewCampaign(0, Wake{}, time.Second)
	if a, _ := never.Next(time.Hour); a.Kind != Call {
		t.Errorf("a campaign that was asked too late gave up without a call: %v", a.Kind)
	}
}

func TestCampaignDemandMakesOwner(t *testing.T) {
	c := HelpCampaign(0, Wake{}, time.Minute)
	c.Next(500 * ms)
	c.Next(time.Second)
	c.Demand(1100 * ms)
	a, wait := c.Next(1100 * ms)
	if a.Kind != Call || !a.Own || a.Attempt != 3 || a.Demands != 1 || wait != time.Second {
		t.Errorf("got %+v, %v", a, wait)
	}
	c.Demand(1200 * ms) // one more hurries nothing
	if a, _ := c.Next(1200 * ms); a.Kind != Rest {
		t.Errorf("got %+v", a)
	}
	c.End()
	c.Demand(time.Minute)
	if a, wait := c.Next(time.Minute); a.Kind != Rest || wait != Never {
		t.Errorf("after the end: %+v, %v", a, wait)
	}
}

// step is one line of a board's story.
type step struct {
	at   time.Duration
	do   string // "begin ID SLEEPS", "help ID SLEEPS", "end", "next"; all about node "t" unless a node follows
	want string
}

func TestBoard(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name  string
		steps []step
	}{
		{"demands of one node are joined", []step{
			{0, "begin a 1", "a started"},
			{0, "next", "[call a own 1 1] wait 250ms"},
			{100 * ms, "begin b 1", "a joined"},
			{100 * ms, "next", "[] wait 150ms"},
			{250 * ms, "next", "[call a own 2 2] wait 500ms"},
			{300 * ms, "end", "rest a own 2 2"},
			{300 * ms, "next", "[] wait never"},
			{300 * ms, "end", "nothing"},
			{400 * ms, "begin c 2", "c started"},
			{400 * ms, "next", "[call c own 1 1] wait 250ms"},
		}},
		{"nodes are independent", []step{
			{0, "begin a 1 y", "a started"},
			{100 * ms, "begin b 1 x", "b started"},
			{100 * ms, "next", "[call b own 1 1 call a own 1 1] wait 250ms"},
			{200 * ms, "end 0 0 y", "rest a own 1 1"},
			{350 * ms, "next", "[call b own 2 1] wait 500ms"},
		}},
		{"a later sleep takes the place", []step{
			{0, "begin a 1", "a started"},
			{0, "next", "[call a own 1 1] wait 250ms"},
			{100 * ms, "begin b 2", "b started"},
			{100 * ms, "next", "[superseded a own 1 1 call b own 1 1] wait 250ms"},
			{200 * ms, "begin c 1", "b joined"},
		}},
		{"give up, keep, begin again", []step{
			{0, "begin a 1", "a started"},
			{0, "next", "[call a own 1 1] wait 250ms"},
			{30 * s, "next", "[give-up a own 1 1] wait never"},
			{31 * s, "begin b 1", "b kept"},
			{31 * s, "next", "[] wait 9s"},
			{32 * s, "begin c 2", "b kept"},
			{39999 * ms, "next", "[] wait 1ms"},
			{40 * s, "next", "[begun b own 0 2 call b own 1 2] wait 250ms"},
			{41 * s, "begin d 2", "b joined"},
		}},
		{"demand at the end of the pause, before anybody asked", []step{
			{0, "begin a 1", "a started"},
			{0, "next", "[call a own 1 1] wait 250ms"},
			{30 * s, "next", "[give-up a own 1 1] wait never"},
			{31 * s, "begin b 1", "b kept"},
			{45 * s, "begin c 1", "b joined"},
			{45 * s, "next", "[begun b own 0 2 call b own 1 2] wait 250ms"},
		}},
		{"after the pause a demand begins at once", []step{
			{0, "begin a 1", "a started"},
			{0, "next", "[call a own 1 1] wait 250ms"},
			{30 * s, "next", "[give-up a own 1 1] wait never"},
			{40 * s, "begin b 1", "b started"},
			{40 * s, "next", "[call b own 1 1] wait 250ms"},
		}},
		{"a node that came back ends the pause", []step{
			{0, "begin a 1", "a started"},
			{0, "next", "[call a own 1 1] wait 250ms"},
			{30 * s, "next", "[give-up a own 1 1] wait never"},
			{31 * s, "begin b 1", "b kept"},
			{32 * s, "end", "nothing"},
			{50 * s, "next", "[] wait never"},
			{50 * s, "begin c 2", "c started"},
		}},
		{"a helper joins later and hears repetitions", []step{
			{0, "help a 1", "helps"},
			{0, "next", "[] wait 500ms"},
			{250 * ms, "help a 1", "known"},
			{500 * ms, "next", "[call a help 1 0] wait 500ms"},
			{750 * ms, "help b 1", "known"},
			{800 * ms, "end", "rest a help 1 0"},
			{900 * ms, "help a 1", "known"},
			{900 * ms, "next", "[] wait never"},
			{950 * ms, "help c 2", "helps"},
		}},
		{"a helper is overtaken by a later sleep", []step{
			{0, "help a 1", "helps"},
			{100 * ms, "help b 2", "helps"},
			{100 * ms, "next", "[superseded a help 0 0] wait 500ms"},
			{200 * ms, "help a 1", "known"},
		}},
		{"the first host died: demand comes to the helper", []step{
			{0, "help a 1", "helps"},
			{500 * ms, "next", "[call a help 1 0] wait 500ms"},
			{600 * ms, "begin b 1", "a joined"},
			{600 * ms, "next", "[call a own 2 1] wait 500ms"},
		}},
		{"a helper's giving up makes nobody wait", []step{
			{0, "help a 1", "helps"},
			{500 * ms, "next", "[call a help 1 0] wait 500ms"},
			{31 * s, "next", "[give-up a help 1 0] wait never"},
			{31 * s, "begin b 1", "b started"},
		}},
		{"help during the own pause takes the kept demand along", []step{
			{0, "begin a 1", "a started"},
			{0, "next", "[call a own 1 1] wait 250ms"},
			{30 * s, "next", "[give-up a own 1 1] wait never"},
			{31 * s, "begin b 1", "b kept"},
			{39800 * ms, "help c 1", "helps"},
			{39800 * ms, "next", "[] wait 200ms"},
			{40 * s, "next", "[call c own 1 1] wait 250ms"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBoard(30*s, 0)
			for i, k := range tt.steps {
				if got := carryOut(t, b, k); got != k.want {
					t.Fatalf("step %d, %v %s: got %q, want %q", i, k.at, k.do, got, k.want)
				}
			}
		})
	}
}

// A host that never comes up is called after pauses that double, while its clients knock; whoever is not a client waits for the first pause
// alone. When it was up, all of that begins anew.
func TestAHostThatNeverComesUp(t *testing.T) {
	const s = time.Second
	b := NewBoard(30*s, 0)
	now := time.Duration(0)
	client := Wake{ID: "c", Node: "t", Sleeps: 1, Patient: true}
	fail := func(w Wake) (a Action) {
		t.Helper()
		b.Begin(now, w)
		b.Next(now)
		now += 30 * s
		all, _ := b.Next(now)
		if len(all) != 1 || all[0].Kind != GiveUp {
			t.Fatalf("%+v", all)
		}
		return all[0]
	}
	for n, want := range []time.Duration{10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 320 * s, 640 * s, 1280 * s, 2560 * s, time.Hour, time.Hour} {
		if a := fail(client); a.Pause != want || a.Failures != n+1 {
			t.Fatalf("failure %d: %+v, want a pause of %s", n+1, a, want)
		}
		for end := now + want; now < end; now += 5 * s { // the client knocks on
			if _, v := b.Begin(now, client); v != Kept {
				t.Fatalf("failure %d: %s", n+1, v)
			}
			if all, _ := b.Next(now); len(all) != 0 {
				t.Fatalf("failure %d: %+v", n+1, all)
			}
		}
	}
	fail(client)
	if _, v := b.Begin(now, client); v != Kept {
		t.Error(v)
	}
	if got, v := b.Begin(now+s, Wake{ID: "operator", Node: "t", Sleeps: 1}); v != Kept || got.ID != "operator" {
		t.Errorf("in the first pause an operator's is %s %s", got.ID, v)
	}
	now += DefaultGap
	if all, _ := b.Next(now); len(all) != 2 || all[0].Kind != Begun || all[1].Kind != Call || all[1].Wake.ID != "operator" {
		t.Errorf("after it: %+v", all)
	}
	now += 30 * s
	b.Next(now)
	b.Begin(now, client)
	now += 20 * s
	if got, v := b.Begin(now, Wake{ID: "operator again", Node: "t", Sleeps: 1}); v != Started || got.ID != "operator again" {
		t.Errorf("later an operator's is %s %s", got.ID, v)
	}
	b.Next(now)
	now += 30 * s
	b.Next(now)
	b.Begin(now, client) // and goes away
	now += GapMost
	if all, wait := b.Next(now); len(all) != 0 || wait != Never {
		t.Errorf("for a client that has long gone: %+v, %s", all, wait)
	}
	b.End("t")
	if a := fail(client); a.Pause != DefaultGap || a.Failures != 1 {
		t.Errorf("after it was up: %+v", a)
	}
	if _, v := b.Begin(now+DefaultGap, client); v != Started {
		t.Errorf("after it was up: %s", v)
	}
}

func carryOut(t *testing.T, b *Board, k step) string {
	t.Helper()
	verb, w := "", Wake{Node: "t"}
	if _, err := fmt.Sscanf(k.do+" - 0 t", "%s %s %d %s", &verb, &w.ID, &w.Sleeps, &w.Node); err != nil {
		t.Fatal(err)
	}
	if w.Node == "-" {
		w.Node = "t"
	}
	switch verb {
	case "begin":
		got, v := b.Begin(k.at, w)
		return got.ID + " " + v.String()
	case "help":
		if b.Help(k.at, w) {
			return "helps"
		}
		return "known"
	case "end":
		if a, ok := b.End(w.Node); ok {
			return tell(a)
		}
		return "nothing"
	}
	actions, wait := b.Next(k.at)
	var told []string
	for _, a := range actions {
		told = append(told, tell(a))
	}
	if wait == Never {
		return fmt.Sprintf("%v wait never", told)
	}
	return fmt.Sprintf("%v wait %v", told, wait)
}

func tell(a Action) string {
	who := "help"
	if a.Own {
		who = "own"
	}
	return fmt.Sprintf("%v %s %s %d %d", a.Kind, a.Wake.ID, who, a.Attempt, a.Demands)
}

func TestBoardRunning(t *testing.T) {
	b := NewBoard(0, 0)
	b.Begin(5, Wake{ID: "a", Node: "y"})
	b.Help(6, Wake{ID: "b", Node: "x"})
	b.Next(7)
	want := []Progress{
		{Wake: Wake{ID: "b", Node: "x"}, Started: 6},
		{Wake: Wake{ID: "a", Node: "y"}, Own: true, Attempts: 1, Demands: 1, Started: 5},
	}
	if got := b.Running(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What has ended is remembered, but not for ever.
func TestBoardForgets(t *testing.T) {
	b := NewBoard(0, 0)
	for i := range endedLimit + 1 {
		b.Help(0, Wake{ID: fmt.Sprint(i), Node: "t"})
		b.End("t")
	}
	if len(b.ended) != endedLimit {
		t.Errorf("%d IDs are remembered", len(b.ended))
	}
	if b.Help(0, Wake{ID: fmt.Sprint(endedLimit), Node: "t"}) {
		t.Error("the newest was forgotten")
	}
	if !b.Help(0, Wake{ID: "0", Node: "t"}) {
		t.Error("the oldest was remembered")
	}
}

// Where there is a hook the campaign says at its limit that it is late, tries the hook when the whole timeout is over, once, and goes on
// for as long again. A helper has none to try.
func TestCampaignEscalates(t *testing.T) {
	for _, tt := range []struct {
		name  string
		make  func(time.Duration, Wake, time.Duration) *Campaign
		hook  bool
		limit time.Duration
		steps string
	}{
		{"own", NewCampaign, true, 15 * time.Second, "[late 15s escalate 1m0s give-up 2m0s]"},
		{"own, nothing measured yet", NewCampaign, true, 0, "[late 1m0s escalate 1m0s give-up 2m0s]"},
		{"own, without", NewCampaign, false, 15 * time.Second, "[give-up 15s]"},
		{"helper", HelpCampaign, true, 15 * time.Second, "[give-up 15s]"},
	} {
		c := tt.make(0, Wake{Limit: tt.limit, Hook: tt.hook}, time.Minute)
		var steps []string
		now := time.Duration(0)
		for over := false; !over; {
			a, wait := c.Next(now)
			if a.Kind != Call && a.Kind != Rest {
				steps = append(steps, fmt.Sprint(a.Kind, " ", now))
			}
			if over = a.Kind == GiveUp; !over && (wait < 0 || wait > 5*time.Second) {
				t.Fatalf("%s: at %v a wait of %v", tt.name, now, wait)
			}
			now += wait
		}
		if fmt.Sprint(steps) != tt.steps {
			t.Errorf("%s: %v, want %s", tt.name, steps, tt.steps)
		}
	}
	c := HelpCampaign(0, Wake{Limit: 15 * time.Second, Hook: true}, time.Minute)
	c.Next(HelpAfter)
	c.Demand(time.Second) // the client came here: it is this host's own from now on
	c.Next(time.Second)
	if a, _ := c.Next(15 * time.Second); a.Kind != Late {
		t.Errorf("a helper that became an owner: %v, want late", a.Kind)
	}
}

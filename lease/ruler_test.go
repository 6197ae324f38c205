package lease

import (
	"testing"
	"time"
)

// shown is a sharp look at a clock that was bent by ahead, at raw.
func shown(raw, ahead time.Duration) Sight { return Sight{Before: raw, Mono: raw + ahead, After: raw} }

func TestRulerAddsUp(t *testing.T) {
	const s, ms, us = time.Second, time.Millisecond, time.Microsecond
	var r Ruler
	for i, c := range []struct {
		raw, ahead time.Duration
		want       Bent
	}{
		{10 * s, 5 * s, Bent{}},                                                          // only changes count
		{11 * s, 5*s + 40*us, Bent{}},                                                    // less than a grain
		{12 * s, 5*s + 80*us, Bent{Ahead: 80 * us}},                                      // both together
		{13 * s, 5*s + 100*ms, Bent{Ahead: 100 * ms}},                                    // faster by 10 %
		{14 * s, 5*s + 50*ms, Bent{Ahead: 100 * ms, Behind: 50 * ms, Slow: 50_001}},      // slower by 5 %
		{14*s + 5*ms, 5*s + 50*ms, Bent{Ahead: 100 * ms, Behind: 50 * ms, Slow: 50_001}}, // too soon for another rate
		{15 * s, 5*s + 49500*us, Bent{Ahead: 100 * ms, Behind: 50500 * us}},              // ntpd's 500 millionths
		{16 * s, 5*s + 49500*us, Bent{Ahead: 100 * ms, Behind: 50500 * us}},
	} {
		if got := r.Look(shown(c.raw, c.ahead)); got != c.want {
			t.Errorf("look %d: %+v, want %+v", i, got, c.want)
		}
	}
}

// A look that took long says little, and errs to the safe side: it lengthens what voters wait for and shortens what holders have.
func TestLooksThatTookLong(t *testing.T) {
	var r Ruler
	r.Look(shown(time.Second, 0))
	wide := r.Look(Sight{Before: 2 * time.Second, Mono: 2*time.Second + 3*time.Millisecond, After: 2*time.Second + 4*time.Millisecond})
	if wide.Ahead != 3*time.Millisecond {
		t.Errorf("after a wide look: %+v", wide)
	}
	if sharp := r.Look(shown(3*time.Second, 0)); sharp.Behind < 3*time.Millisecond {
		t.Errorf("after a sharp one: %+v", sharp)
	}
}

// What the looks themselves are off by does not add up: not at all where they are as sharp as is asked for, and where none ever is, and each
// takes all of its tries, by no more than a fourth of the time that passes.
func TestNoiseDoesNotAddUp(t *testing.T) {
	const us = time.Microsecond
	for name, c := range map[string]struct{ width, every, most time.Duration }{
		"sharp":       {20 * us, 200 * us, grain},
		"never sharp": {time.Millisecond, 8 * time.Millisecond, 100_000 * 8 * time.Millisecond / 4},
	} {
		var r Ruler
		var last Bent
		for i := range time.Duration(100_000) {
			at := i * c.every
			mono := at + i*7919%13*c.width/12 // anywhere between the two
			last = r.Look(Sight{Before: at, Mono: mono, After: at + c.width})
		}
		if last.Ahead+last.Behind > c.most {
			t.Errorf("%s: %+v, want %v at most", name, last, c.most)
		}
	}
}

// An entry that ran out stays over, however often the voter is started again; one that may run is lengthened.
func TestUnwatchedRestartsBringNothingBack(t *testing.T) {
	const sec = Boot(time.Second)
	table := Table{Settled: true, Services: []Record{{
		Service: "web", Highest: 1, Entry: Entry{Service: "web", Holder: "a", Epoch: 1, Incarnation: 1, LastSeen: 10 * sec, Expires: 11 * sec},
	}}}
	at := 10*sec + sec/2
	for i := range 20 {
		v := RestoreVoter("v", table)
		v.ClockUnwatched(at)
		e := v.Entries()["web"]
		if i == 0 && e.Expires != 11*sec+sec/8 {
			t.Errorf("half a second after it was seen it ends at %v", e.Expires)
		}
		if at >= 12*sec && e.Runs(at) {
			t.Fatalf("after %d starts it runs at %v until %v", i+1, at, e.Expires)
		}
		table = v.Table()
		at += sec * Boot(i+1)
	}
}

func TestUntil(t *testing.T) {
	const hour = Boot(time.Hour)
	for _, c := range []struct {
		slow           int64
		now, end, want Boot
	}{
		{0, hour, hour + 1_000_000, hour + 1_000_000},
		{100_000, hour, hour + 1_000_000, hour + 900_000},
		{100_001, hour, hour + 999, hour + 899}, // rounded down
		{100_000, hour + 5, hour, hour},         // over: nothing gets longer
		{100_000, hour, hour + Boot(300*24*time.Hour), hour + Boot(270*24*time.Hour)},
		{999_999, hour, hour + 10, hour},
	} {
		if got := (Bent{Slow: c.slow}).Until(c.now, c.end); got != c.want {
			t.Errorf("%d millionths slower, from %d to %d: %d, want %d", c.slow, c.now, c.end, got, c.want)
		}
	}
}

func TestHolderFellBehind(t *testing.T) {
	h := NewHolder(service, "a", 1)
	h.FellBehind(time.Second) // nothing runs
	q := Quorum{Config: 1, Voters: []string{"v"}}
	for _, c := range []struct{ lost, want time.Duration }{{0, 96}, {3, 93}, {-3, 96}} {
		r, ok := h.Begin(1000, 1, q, 100, 4, nil)
		if !ok {
			t.Fatal("not begun")
		}
		h.FellBehind(c.lost)
		deadline, ok := h.Answer(Answer{Voter: "v", Service: service, Epoch: 1, Node: "a", Incarnation: 1, Seq: r.Seq})
		if want := Boot(1000).Add(c.want); !ok || deadline != want {
			t.Errorf("%v lost: %d, %v, want %d", c.lost, deadline, ok, want)
		}
	}
}

func TestVoterUnwatched(t *testing.T) {
	const sec = Boot(time.Second)
	f := Facts{MaxTTL: time.Second, StartWait: time.Second}
	v := NewVoter("v", 0)
	v.settled = true
	if a, _ := v.Request(10*sec, f, Request{Service: service, Epoch: 1, Node: "a", Incarnation: 1, Seq: 1, TTL: time.Second}); a.Refusal != Granted {
		t.Fatal(a.Refusal)
	}
	v.ClockUnwatched(10*sec + sec/2)
	if got, want := v.Entries()[service].Expires, 11*sec+sec/8; got != want {
		t.Errorf("the entry expires at %d, want %d", got, want)
	}
	w := NewVoter("w", 4*sec)
	w.ClockUnwatched(4*sec + sec/2)
	if w.Ready(5*sec+sec/8-1, time.Second) || !w.Ready(5*sec+sec/8, time.Second) {
		t.Error("rule 1 does not wait longer")
	}
}

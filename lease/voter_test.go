package lease

import (
	"testing"
	"time"
)

const sec = Boot(time.Second)

// ask is a request of node a for epoch 5 in configuration 7, with one part changed.
func ask(change func(*Request)) Request {
	r := Request{Service: service, Epoch: 5, Node: "a", Incarnation: 3, Seq: 10, Config: 7, TTL: time.Second}
	if change != nil {
		change(&r)
	}
	return r
}

var usual = Facts{MaxTTL: time.Second, StartWait: time.Second, Config: 7, Epoch: 5}

// TestVoterRules: the voter started at 0 and granted a's request at 10 s. Each case is one more request.
func TestVoterRules(t *testing.T) {
	other := func(r *Request) { r.Node, r.Epoch = "b", 6 }
	for _, c := range []struct {
		name      string
		at        Boot
		facts     func(*Facts)
		change    func(*Request)
		want      Refusal
		holder    string
		remaining time.Duration
		ignored   bool
	}{
		{name: "renewal", change: func(r *Request) { r.Seq = 11 }, want: Granted},
		{name: "own, higher epoch", change: func(r *Request) { r.Seq, r.Epoch = 11, 6 }, want: Granted},
		{name: "own, higher incarnation, seq anew", change: func(r *Request) { r.Incarnation, r.Seq = 4, 1 }, want: Granted},
		{name: "same seq", change: nil, ignored: true},
		{name: "lower seq", change: func(r *Request) { r.Seq = 9 }, ignored: true},
		{name: "no service", change: func(r *Request) { r.Seq, r.Service = 11, "" }, ignored: true},
		{name: "no node", change: func(r *Request) { r.Seq, r.Node = 11, "" }, ignored: true},
		{name: "epoch 0", change: func(r *Request) { r.Seq, r.Epoch = 11, 0 }, ignored: true},
		{name: "no ttl", change: func(r *Request) { r.Seq, r.TTL = 11, 0 }, ignored: true},
		{
			name: "ttl too long", change: func(r *Request) { r.Seq, r.TTL = 11, time.Second+1 },
			want: TTLTooLong, holder: "a", remaining: time.Second,
		},
		{
			name: "old configuration", change: func(r *Request) { r.Seq, r.Config = 11, 6 },
			want: OldConfig, holder: "a", remaining: time.Second,
		},
		{name: "newer configuration than the log's", change: func(r *Request) { r.Seq, r.Config = 11, 8 }, want: Granted},
		{
			name: "below the granted epoch", change: func(r *Request) { r.Seq, r.Epoch = 11, 4 },
			facts: func(f *Facts) { f.Epoch = 0 }, want: OldEpoch, holder: "a", remaining: time.Second,
		},
		{
			name: "below the logged epoch", change: func(r *Request) { r.Seq = 11 },
			facts: func(f *Facts) { f.Epoch = 6 }, want: OldEpoch, holder: "a", remaining: time.Second,
		},
		{name: "another node", change: other, want: HeldByOther, holder: "a", remaining: time.Second},
		{name: "another node, last instant", at: 11*sec - 1, change: other, want: HeldByOther, holder: "a", remaining: 1},
		{name: "another node, expired", at: 11 * sec, change: other, want: Granted},
		{
			name: "lower incarnation", change: func(r *Request) { r.Incarnation, r.Seq = 2, 99 },
			want: OldIncarnation, holder: "a", remaining: time.Second,
		},
		{
			name: "lower incarnation, expired", at: 12 * sec,
			change: func(r *Request) { r.Incarnation, r.Seq = 2, 99 }, want: OldIncarnation,
		},
		{
			name: "order: ttl before all", change: func(r *Request) { r.Node, r.TTL, r.Config, r.Epoch = "b", 2*time.Second, 1, 1 },
			want: TTLTooLong, holder: "a", remaining: time.Second,
		},
		{
			name: "order: configuration before epoch", change: func(r *Request) { r.Node, r.Config, r.Epoch = "b", 1, 1 },
			want: OldConfig, holder: "a", remaining: time.Second,
		},
		{
			name: "order: epoch before exclusion", change: func(r *Request) { r.Node, r.Epoch = "b", 1 },
			want: OldEpoch, holder: "a", remaining: time.Second,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := granted(t)
			f := usual
			if c.facts != nil {
				c.facts(&f)
			}
			r := ask(c.change)
			got, ok := v.Request(max(c.at, 10*sec), f, r)
			want := Answer{
				Voter: "v", Service: r.Service, Epoch: r.Epoch, Node: r.Node, Incarnation: r.Incarnation, Seq: r.Seq,
				Refusal: c.want, Holder: c.holder, Remaining: c.remaining,
			}
			if c.ignored {
				want = Answer{}
			}
			if ok == c.ignored || got != want {
				t.Errorf("got %+v, %v; want %+v", got, ok, want)
			}
		})
	}
}

func granted(t *testing.T) *Voter {
	t.Helper()
	v := NewVoter("v", 0)
	if a, ok := v.Request(10*sec, usual, ask(nil)); !ok || a.Refusal != Granted {
		t.Fatalf("the first request: %+v, %v", a, ok)
	}
	return v
}

func TestAmnesia(t *testing.T) {
	v := NewVoter("v", 100*sec)
	long := usual
	long.StartWait = 2 * time.Second
	a, ok := v.Request(101*sec, long, ask(nil))
	if !ok || a.Refusal != Amnesia || a.Remaining != time.Second || a.Holder != "" {
		t.Errorf("after 1 of 2 s: %+v", a)
	}
	if v.Ready(102*sec-1, 2*time.Second) || !v.Ready(102*sec, 2*time.Second) {
		t.Error("Ready is not at 2 s after the start")
	}
	if seen, known := v.LastSeen(service, "a"); !known || seen != 101*sec {
		t.Errorf("a refused request is a sign of life: %v, %v", seen, known)
	}
	if a, ok := v.Request(102*sec, long, ask(nil)); ok {
		t.Errorf("a refused request used its seq: %+v", a)
	}
	if a, _ := v.Request(102*sec, long, ask(func(r *Request) { r.Seq = 11 })); a.Refusal != Granted {
		t.Errorf("after 2 s: %+v", a)
	}
	long.MaxTTL, long.StartWait = time.Minute, time.Minute
	raised := ask(func(r *Request) { r.Seq, r.TTL = 12, time.Minute })
	if a, _ := v.Request(103*sec, long, raised); a.Refusal != Granted {
		t.Errorf("a ttl that is raised later begins no new wait: %+v", a)
	}
}

func TestAmnesiaLastsAtLeastTheRequestsTTL(t *testing.T) {
	v := NewVoter("v", 0)
	if a, _ := v.Request(sec/2, Facts{MaxTTL: time.Second}, ask(nil)); a.Refusal != Amnesia || a.Remaining != time.Second/2 {
		t.Errorf("%+v", a)
	}
}

// TestAmnesiaGoesOnOverARestart: a voter that still waited has a table that knows nothing of what was before.
func TestAmnesiaGoesOnOverARestart(t *testing.T) {
	v := NewVoter("v", 100*sec)
	v.Request(100*sec+1, usual, ask(nil))
	v = RestoreVoter("v", v.Table())
	if a, _ := v.Request(101*sec-1, usual, ask(func(r *Request) { r.Seq = 11 })); a.Refusal != Amnesia {
		t.Errorf("restored before the wait was over: %+v", a)
	}
	if a, _ := v.Request(101*sec, usual, ask(func(r *Request) { r.Seq = 12 })); a.Refusal != Granted {
		t.Errorf("after the wait: %+v", a)
	}
	v = RestoreVoter("v", v.Table())
	if a, _ := v.Request(101*sec+1, usual, ask(func(r *Request) { r.Seq, r.Node, r.Epoch = 1, "b", 6 })); a.Refusal != HeldByOther {
		t.Errorf("restored with its whole table: %+v", a)
	}
}

func TestRelease(t *testing.T) {
	give := Release{Service: service, Epoch: 5, Node: "a", Incarnation: 3, Seq: 11}
	for _, c := range []struct {
		name           string
		change         func(*Release)
		acked, cleared bool
		highest        uint64
	}{
		{name: "the entry's own", acked: true, cleared: true, highest: 5},
		{name: "later incarnation", change: func(r *Release) { r.Incarnation, r.Seq = 4, 1 }, acked: true, cleared: true, highest: 5},
		{name: "lower incarnation", change: func(r *Release) { r.Incarnation = 2 }, highest: 5},
		{name: "lower epoch", change: func(r *Release) { r.Epoch = 4 }, acked: true, highest: 5},
		{name: "higher epoch", change: func(r *Release) { r.Epoch = 6 }, acked: true, highest: 6},
		{name: "another node", change: func(r *Release) { r.Node = "b" }, acked: true, highest: 5},
		{name: "another service", change: func(r *Release) { r.Service = "db" }, acked: true, highest: 5},
		{name: "seq of the grant", change: func(r *Release) { r.Seq = 10 }, highest: 5},
		{name: "no node", change: func(r *Release) { r.Node = "" }, highest: 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, r := granted(t), give
			if c.change != nil {
				c.change(&r)
			}
			ack, ok := v.Release(10*sec, r)
			want := Ack{Voter: "v", Service: r.Service, Epoch: r.Epoch, Node: r.Node, Incarnation: r.Incarnation, Seq: r.Seq}
			if ok != c.acked || ok && ack != want {
				t.Errorf("ack %+v, %v", ack, ok)
			}
			if got := v.Entries()[service].Released; got != c.cleared {
				t.Errorf("cleared: %v", got)
			}
			if got := v.services[service].highest; got != c.highest {
				t.Errorf("highest epoch %d, want %d", got, c.highest)
			}
			again, ok := v.Release(10*sec, r)
			if ok != c.acked || again != ack {
				t.Errorf("doubled: %+v, %v", again, ok)
			}
		})
	}
}

func TestReleaseWithoutEntryCountsForRule3(t *testing.T) {
	v := NewVoter("v", 0)
	v.Release(5*sec, Release{Service: service, Epoch: 9, Node: "a", Incarnation: 1, Seq: 1})
	a, _ := v.Request(5*sec, usual, ask(func(r *Request) { r.Node, r.Epoch = "b", 8 }))
	if a.Refusal != OldEpoch {
		t.Errorf("%+v", a)
	}
	if _, known := v.LastSeen(service, "a"); known || len(v.Entries()) != 0 {
		t.Error("a release is no sign of life and no entry")
	}
}

func TestLateRequestCannotUndoARelease(t *testing.T) {
	v := granted(t)
	v.Release(10*sec, Release{Service: service, Epoch: 5, Node: "a", Incarnation: 3, Seq: 13})
	if a, ok := v.Request(10*sec, usual, ask(func(r *Request) { r.Seq = 12 })); ok {
		t.Errorf("%+v", a)
	}
}

func TestPriorIsCarriedOutBeforeJudging(t *testing.T) {
	prior := &Release{Service: service, Epoch: 5, Node: "a", Incarnation: 3, Seq: 11}
	v := granted(t)
	a, _ := v.Request(10*sec, usual, ask(func(r *Request) { r.Node, r.Epoch, r.Prior = "b", 6, prior }))
	if e := v.Entries()[service]; a.Refusal != Granted || e.Holder != "b" || e.Expires != 11*sec {
		t.Errorf("%+v, %+v", a, e)
	}
	if ack, ok := v.Release(10*sec, *prior); !ok || ack.Node != "a" {
		t.Errorf("the release itself, late: %+v, %v", ack, ok)
	}
	if e := v.Entries()[service]; !e.Runs(10 * sec) {
		t.Errorf("it cleared the new holder's entry: %+v", e)
	}

	v = granted(t) // a refused request carries it out, too
	v.Request(10*sec, usual, ask(func(r *Request) { r.Node, r.Epoch, r.Prior, r.Config = "b", 6, prior, 1 }))
	if e := v.Entries()[service]; e.Runs(10 * sec) {
		t.Errorf("still running: %+v", e)
	}
	v = granted(t)
	foreign := *prior
	foreign.Service = "db"
	a, _ = v.Request(10*sec, usual, ask(func(r *Request) { r.Node, r.Epoch, r.Prior = "b", 6, &foreign }))
	if a.Refusal != HeldByOther {
		t.Errorf("another service's release: %+v", a)
	}
}

func TestSmallerTTLShortensNothing(t *testing.T) {
	v := granted(t)
	v.Request(10*sec, usual, ask(func(r *Request) { r.Seq, r.TTL = 11, time.Millisecond }))
	if e := v.Entries()[service]; e.Expires != 11*sec {
		t.Errorf("the first grant runs to 11 s, the entry to %v", time.Duration(e.Expires))
	}
}

func TestClockJumped(t *testing.T) {
	v := granted(t)
	v.ClockJumped(2 * time.Second)
	if e := v.Entries()[service]; e.Expires != 13*sec {
		t.Errorf("running entry: %+v", e)
	}
	v.Release(10*sec, Release{Service: service, Epoch: 5, Node: "a", Incarnation: 3, Seq: 11})
	v.ClockJumped(2 * time.Second)
	if e := v.Entries()[service]; e.Runs(10 * sec) {
		t.Errorf("released entry: %+v", e)
	}
	w := NewVoter("w", 0)
	w.ClockJumped(2 * time.Second)
	if w.Ready(3*sec-1, time.Second) || !w.Ready(3*sec, time.Second) {
		t.Error("the wait of rule 1 did not get longer")
	}
}

func TestEntriesAndSignsOfLife(t *testing.T) {
	v := granted(t)
	v.Request(10*sec+5, usual, ask(func(r *Request) { r.Seq, r.Config = 11, 1 }))
	want := Entry{Service: service, Holder: "a", Epoch: 5, Incarnation: 3, Expires: 11 * sec, LastSeen: 10*sec + 5}
	if got := v.Entries()[service]; got != want {
		t.Errorf("got %+v", got)
	}
	v.Request(10*sec+6, usual, ask(func(r *Request) { r.Incarnation, r.Seq = 2, 99 }))
	if seen, _ := v.LastSeen(service, "a"); seen != 10*sec+5 {
		t.Errorf("a dead daemon's request counts as a sign of life: %v", seen)
	}
	if _, known := v.LastSeen("db", "a"); known {
		t.Error("unknown service")
	}
}

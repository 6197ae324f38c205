package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a Backend that notes what it was asked and answers what it was told to.
type book struct {
	asked  []any
	caller Caller
	err    error
	status Status
	// When not nil, Status says at entered that it is there, and waits for hold.
	hold, entered chan struct{}
}

func (b *book) note(ctx context.Context, what ...any) error {
	b.caller = CallerOf(ctx)
	b.asked = append(b.asked, what...)
	return b.err
}

func (b *book) Status(ctx context.Context) (Status, error) {
	if b.hold != nil {
		b.entered <- struct{}{}
		select {
		case <-b.hold:
		case <-ctx.Done():
			return Status{}, ctx.Err()
		}
	}
	return b.status, b.note(ctx, "status")
}

func (b *book) Members(ctx context.Context) ([]NodeStatus, error) {
	return b.status.Nodes, b.note(ctx, "members")
}

func (b *book) Services(ctx context.Context) ([]Service, error) {
	return []Service{web}, b.note(ctx, "services")
}

func (b *book) History(ctx context.Context, s string) (History, error) {
	return History{Service: s}, b.note(ctx, "history", s)
}

func (b *book) HistoryOf(ctx context.Context, q HistoryQuery) (History, error) {
	return History{Node: q.Name}, b.note(ctx, "history of", q)
}

func (b *book) Events(ctx context.Context, q EventsQuery) (Events, error) {
	if q.Wait > 0 && b.hold != nil {
		b.entered <- struct{}{}
		<-ctx.Done() // nothing happens
		return Events{}, ctx.Err()
	}
	return Events{Events: []Event{{Index: 7, Kind: "owner", Sentence: "s"}}, Cursor: Cursor{7, 3}, Gap: true, Skipped: 2}, b.note(ctx, "events", q)
}

func (b *book) Watch(ctx context.Context, q WatchQuery) (Watched, error) {
	return Watched{Mark: "m2", Status: Status{Node: "alpha"}}, b.note(ctx, "watch", q)
}

func (b *book) Explain(ctx context.Context, n string) (Explained, error) {
	return Explained{Service: &ServiceWhy{Service: n, Choices: []Choice{{Node: "delta"}}}}, b.note(ctx, "explain", n)
}

func (b *book) Version(ctx context.Context) (Version, error) {
	return Version{Version: "v9"}, b.note(ctx, "version")
}

func (b *book) Why(ctx context.Context, n string) (Why, error) {
	return Why{Node: n, Reasons: []AwakeReason{{Name: "flows"}}}, b.note(ctx, "why", n)
}

func (b *book) Wakes(ctx context.Context, q WakesQuery) (Wakes, error) {
	return Wakes{Wakes: []WakeRecord{{ID: "1", Phases: []PhaseTime{{Phase: "called", After: 1}}}}, Refused: []Ignored{{Why: "denied"}}, Waiting: []WakeWaits{}, Notes: []string{}}, b.note(ctx, "wakes", q)
}

func (b *book) Report(ctx context.Context, q ReportQuery) (Report, error) {
	return Report{Nodes: []NodeReport{{Node: "delta", Asleep: Duration(time.Hour), Wakes: []WakeCount{}}}, Notes: []string{}}, b.note(ctx, "report", q)
}

func (b *book) Doctor(ctx context.Context, q DoctorQuery) (DoctorReport, error) {
	return DoctorReport{Nodes: []DoctorNode{{Node: "delta", Findings: []Finding{{Level: Fail, Name: "wifi"}}, Reached: []DoctorReach{}, Holds: []DoctorHold{}, Heard: []DoctorHeard{}, Frames: []DoctorFrames{}}}, Together: []Finding{{Level: Fail}}}, b.note(ctx, "doctor", q)
}

func (b *book) Apply(ctx context.Context, l []Service) (Applied, error) {
	return Applied{Created: []string{l[0].Name}}, b.note(ctx, "apply", l)
}

func (b *book) Delete(ctx context.Context, s string) error { return b.note(ctx, "delete", s) }

func (b *book) Move(ctx context.Context, s, n string) (Moved, error) {
	return Moved{Service: s, To: n, Epoch: 7}, b.note(ctx, "move", s, n)
}

func (b *book) Set(ctx context.Context, s Settings) error { return b.note(ctx, "set", s) }

func (b *book) Sleep(ctx context.Context, n string) (PowerChange, error) {
	return PowerChange{Node: n, Power: "asleep"}, b.note(ctx, "sleep", n)
}

func (b *book) SleepAnyway(ctx context.Context, n string) (PowerChange, error) {
	return PowerChange{Node: n, Power: "asleep"}, b.note(ctx, "sleep anyway", n)
}

func (b *book) Canary(ctx context.Context, n string) (CanaryResult, error) {
	return CanaryResult{Node: n, Passed: true, Phases: []PhaseTime{{Phase: "awake"}}}, b.note(ctx, "canary", n)
}

func (b *book) AcceptFitness(ctx context.Context, n string) error { return b.note(ctx, "accept", n) }

func (b *book) Wake(ctx context.Context, n string) (PowerChange, error) {
	return PowerChange{Node: n, Power: "waking"}, b.note(ctx, "wake", n)
}

func (b *book) Join(ctx context.Context, a []string) (Joined, error) {
	return Joined{Reached: len(a)}, b.note(ctx, "join", a)
}

func (b *book) Drain(ctx context.Context, q DrainQuery) (Drained, error) {
	return Drained{Node: q.Node}, b.note(ctx, "drain", q)
}

func (b *book) Backup(ctx context.Context) (BackupOf, error) {
	return BackupOf{By: "a"}, b.note(ctx, "backup")
}

func (b *book) Restorable(ctx context.Context, q RestoreQuery) (Restorable, error) {
	return Restorable{Lift: true}, b.note(ctx, "restorable", q)
}
func (b *book) LiftEpochs(ctx context.Context, e Epochs) error { return b.note(ctx, "lift", e) }
func (b *book) Undrain(ctx context.Context, n string) error    { return b.note(ctx, "undrain", n) }
func (b *book) Leave(ctx context.Context) error                { return b.note(ctx, "leave") }
func (b *book) Forget(ctx context.Context, n string) error     { return b.note(ctx, "forget", n) }

func (b *book) Propose(ctx context.Context, c []byte) ([]byte, error) {
	return append([]byte("done "), c...), b.note(ctx, "propose", c)
}

var web = Service{
	Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("2001:db8::200")},
	Mode: "mac", MAC: MAC{2, 0, 0, 0, 0, 1}, Ports: []Port{{"tcp", 8080}, {"udp", 53}}, Targets: []string{"delta"}, Hold: "drop",
	Checks: []Check{{
		Kind: "http", Port: 8080, Path: "/health", Host: "www.example.net", StatusMin: 200, StatusMax: 299,
		Interval: Duration(2 * time.Second), Timeout: Duration(500 * time.Millisecond), Rise: 1, Fall: 3,
	}},
	Unit: "web.service", Manage: true,
	Wake: WakeRules{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Deny: []netip.Prefix{}, Budget: 3, BudgetAll: -1, AsleepAtLeast: Duration(time.Minute)},
}

// serving starts a server for b at a unix socket and stops it at the end of the test.
func serving(t *testing.T, b Backend) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(b, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(s.Close(ctx), <-done); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return socket
}

func client(t *testing.T, socket string) *Client {
	return NewClient(socket)
}

func TestEveryOperationArrivesAndAnswers(t *testing.T) {
	b := &book{}
	c := client(t, serving(t, b))
	ctx := t.Context()
	var got []any
	keep := func(v any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		got = append(got, v)
	}
	keep(c.Services(ctx))
	keep(c.History(ctx, "web"))
	keep(c.Version(ctx))
	keep(c.Why(ctx, "delta"))
	keep(c.Wakes(ctx, WakesQuery{Name: "web", Last: 3}))
	keep(c.Report(ctx, ReportQuery{Since: Duration(time.Hour)}))
	events := EventsQuery{Cursor: Cursor{5, 1}, Since: Duration(time.Minute), Kinds: []string{"owner"}, Service: "web", Node: "delta", Last: 2}
	keep(c.HistoryOf(ctx, HistoryQuery{Name: "delta", Since: Duration(time.Hour)}))
	keep(c.Events(ctx, events))
	keep(c.Watch(ctx, WatchQuery{Mark: "m1", Wait: Duration(time.Second)}))
	keep(c.Explain(ctx, "web"))
	doctored, err := c.Doctor(ctx, DoctorQuery{Peers: true, Wake: true, Node: "delta"})
	if keep(doctored, err); doctored.Count(Fail) != 2 || doctored.Count(Warn) != 0 {
		t.Errorf("%d failures in %+v", doctored.Count(Fail), doctored)
	}
	keep(c.Apply(ctx, []Service{web}))
	keep(nil, c.Delete(ctx, "web"))
	keep(c.Move(ctx, "web", "alpha"))
	keep(nil, c.Set(ctx, Settings{Failover: Duration(300 * time.Millisecond)}))
	keep(c.Sleep(ctx, "delta"))
	keep(c.Wake(ctx, "delta"))
	keep(c.Join(ctx, []string{"192.0.2.1", "b:7373"}))
	keep(nil, c.Leave(ctx))
	keep(nil, c.Forget(ctx, "echo"))
	back := RestoreQuery{
		Epochs: Epochs{"000102", 7}, Delete: []string{"mail"}, Services: []Service{web}, Settings: Settings{Inrush: 2}, Drain: []DrainQuery{{Node: "delta", Text: "new disk"}},
	}
	keep(c.Restorable(ctx, back))
	keep(nil, c.LiftEpochs(ctx, back.Epochs))
	wantAnswers := []any{
		[]Service{web},
		History{Service: "web"},
		Version{Version: "v9"},
		Why{Node: "delta", Reasons: []AwakeReason{{Name: "flows"}}},
		Wakes{Wakes: []WakeRecord{{ID: "1", Phases: []PhaseTime{{Phase: "called", After: 1}}}}, Refused: []Ignored{{Why: "denied"}}, Waiting: []WakeWaits{}, Notes: []string{}},
		Report{Nodes: []NodeReport{{Node: "delta", Asleep: Duration(time.Hour), Wakes: []WakeCount{}}}, Notes: []string{}},
		History{Node: "delta"},
		Events{Events: []Event{{Index: 7, Kind: "owner", Sentence: "s"}}, Cursor: Cursor{7, 3}, Gap: true, Skipped: 2},
		Watched{Mark: "m2", Status: Status{Node: "alpha"}},
		Explained{Service: &ServiceWhy{Service: "web", Choices: []Choice{{Node: "delta"}}}},
		DoctorReport{Nodes: []DoctorNode{{Node: "delta", Findings: []Finding{{Level: Fail, Name: "wifi"}}, Reached: []DoctorReach{}, Holds: []DoctorHold{}, Heard: []DoctorHeard{}, Frames: []DoctorFrames{}}}, Together: []Finding{{Level: Fail}}},
		Applied{Created: []string{"web"}},
		nil,
		Moved{Service: "web", To: "alpha", Epoch: 7},
		nil,
		PowerChange{Node: "delta", Power: "asleep"},
		PowerChange{Node: "delta", Power: "waking"},
		Joined{Reached: 2},
		nil, nil,
		Restorable{Lift: true},
		nil,
	}
	wantAsked := []any{
		"services", "history", "web", "version", "why", "delta", "wakes",
		WakesQuery{Name: "web", Last: 3},
		"report",
		ReportQuery{Since: Duration(time.Hour)},
		"history of",
		HistoryQuery{Name: "delta", Since: Duration(time.Hour)},
		"events", events,
		"watch",
		WatchQuery{Mark: "m1", Wait: Duration(time.Second)},
		"explain", "web",
		"doctor",
		DoctorQuery{Peers: true, Wake: true, Node: "delta"},
		"apply",
		[]Service{web},
		"delete", "web", "move", "web", "alpha",
		"set",
		Settings{Failover: Duration(300 * time.Millisecond)},
		"sleep", "delta", "wake", "delta",
		"join",
		[]string{"192.0.2.1", "b:7373"},
		"leave", "forget", "echo",
		"restorable", back, "lift", back.Epochs,
	}
	same := cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(wantAnswers, got, same); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantAsked, b.asked, same); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if b.caller != (Caller{}) {
		t.Errorf("a local caller counts as peer %q", b.caller.Peer)
	}
}

func TestErrorsKeepCodeAndWords(t *testing.T) {
	for _, want := range []*Error{
		NoLeader("move web to alpha", "1 of 3 voters is awake"),
		NoCluster("move web", "2 of 3 hosts have met"),
		UnknownService("wbe", []string{"dns", "web"}),
		UnknownNode("x", nil),
		UnknownName("Web2", []string{"dns", "web"}, []string{"delta"}),
		Refused("delta stays awake: it is the only voter", ""),
		Invalid("no", "write yes"),
		Unavailable("read", "it is starting"),
	} {
		t.Run(string(want.Code), func(t *testing.T) {
			c := client(t, serving(t, &book{err: want}))
			_, err := c.Move(t.Context(), "web", "alpha")
			if diff := cmp.Diff(want, err); diff != "" {
				t.Error(diff)
			}
		})
	}
	c := client(t, serving(t, &book{err: errors.New("disk on fire")}))
	err := c.Leave(t.Context())
	if CodeOf(err) != CodeInternal || err.Error() != "the daemon could not leave: disk on fire; the daemon's log says more" {
		t.Errorf("got %v (%s)", err, CodeOf(err))
	}
}

func TestLocalCallersMayNotPropose(t *testing.T) {
	b := &book{}
	_, err := client(t, serving(t, b)).Propose(t.Context(), []byte("x"))
	if CodeOf(err) != CodePermission || len(b.asked) != 0 {
		t.Errorf("got %v; the backend was asked %v", err, b.asked)
	}
}

// A question that nobody answered has changed nothing.
func TestTimeoutSaysThatItMayHaveHappened(t *testing.T) {
	b := &book{hold: make(chan struct{}), entered: make(chan struct{}, 1)}
	c := client(t, serving(t, b))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	mute := NewClientFunc("it", func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		t.Cleanup(func() { far.Close() })
		go func() { _, _ = io.Copy(io.Discard, far) }()
		return near, nil
	})
	err := mute.Leave(ctx)
	if CodeOf(err) != CodeTimeout || !strings.HasSuffix(err.Error(), "; it may have been carried out all the same; look at `nightporter status` before trying again") {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Status(ctx)
	if CodeOf(err) != CodeTimeout || !strings.HasPrefix(err.Error(), "cannot read the status: no answer in time from ") || strings.Contains(err.Error(), "carried out") {
		t.Errorf("got %v", err)
	}
	if _, err := c.Events(ctx, EventsQuery{Wait: Duration(time.Second)}); CodeOf(err) != CodeTimeout || strings.Contains(err.Error(), "carried out") {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx); CodeOf(err) != CodeTimeout {
		t.Errorf("after a cancel: got %v", err)
	}
}

func TestCloseLetsARequestFinish(t *testing.T) {
	b := &book{hold: make(chan struct{}), entered: make(chan struct{}, 1), status: Status{Node: "alpha"}}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(b, slog.New(slog.DiscardHandler))
	served, answered, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c := client(t, path)
	go func() {
		got, err := c.Status(t.Context())
		if err == nil && got.Node != "alpha" {
			err = errors.New("a wrong answer")
		}
		answered <- err
	}()
	<-b.entered
	go func() { closed <- s.Close(context.Background()) }()
	if err := <-served; err != nil { // it listens no more: Close is under way
		t.Error(err)
	}
	select {
	case err := <-answered:
		t.Fatalf("the request was cut off: %v", err)
	case err := <-closed:
		t.Fatalf("closed while a request is under way: %v", err)
	default:
	}
	close(b.hold)
	if err := errors.Join(<-answered, <-closed); err != nil {
		t.Error(err)
	}
}

// TestCloseCutsOffWhatWaits: an agent that is asked to stop ends well, whatever its callers still wait for.
func TestCloseCutsOffWhatWaits(t *testing.T) {
	b := &book{hold: make(chan struct{}), entered: make(chan struct{}, 1)}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(b, slog.New(slog.DiscardHandler))
	served, answered := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c := client(t, path)
	go func() {
		_, err := c.Status(t.Context())
		answered <- err
	}()
	<-b.entered
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(s.Close(over), <-served); err != nil {
		t.Error(err)
	}
	if err := <-answered; CodeOf(err) != CodeTimeout {
		t.Errorf("the caller was told %v", err)
	}
}

// Who waits for news is let go at once when the daemon ends: an agent that is stopped is not held up by those who watch it.
func TestCloseLetsGoOfWhoWaitsForNews(t *testing.T) {
	b := &book{hold: make(chan struct{}), entered: make(chan struct{}, 1)}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(b, slog.New(slog.DiscardHandler))
	served, answered := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	go func() {
		_, err := client(t, path).Events(t.Context(), EventsQuery{Wait: Duration(time.Hour)})
		answered <- err
	}()
	<-b.entered
	if err := errors.Join(s.Close(context.Background()), <-served); err != nil { // without a limit: it would wait for ever
		t.Error(err)
	}
	if err := <-answered; CodeOf(err) != CodeUnavailable || !strings.Contains(err.Error(), "the daemon is stopping") {
		t.Errorf("who waits is told %v", err)
	}
}

func TestNamesThatMayHaveBeenMeant(t *testing.T) {
	for name, want := range map[string]string{
		"web": "web", "wbe": "web", "WEB": "web", "delt": "delta", "d": "delta", "dleta": "delta", "zzz": "", "x": "", "": "", "webserver": "",
	} {
		if got := nearest(name, []string{"web", "delta", "mail"}); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if got := UnknownName("wbe", []string{"web"}, nil).Error(); got != `there is neither a service nor a node "wbe"; did you mean web? the only service is web, there is no node at all` {
		t.Error(got)
	}
}

func TestClosedServerServesNoMore(t *testing.T) {
	s := NewServer(&book{}, slog.New(slog.DiscardHandler))
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("it still listens")
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	c := client(t, serving(t, &book{}))
	if err := c.ask(t.Context(), "nonsense", "try it", none{}, &none{}); CodeOf(err) != CodeVersion {
		t.Errorf("an unknown operation: %v", err)
	}
	if err := c.ask(t.Context(), "move", "move", []int{1}, &none{}); CodeOf(err) != CodeInvalid {
		t.Errorf("a body of another shape: %v", err)
	}
	if err := c.ask(t.Context(), "propose", "move", proposal{slices.Repeat([]byte{1}, bodyLimit)}, &none{}); CodeOf(err) != CodeInvalid {
		t.Errorf("a body that is too long: %v", err)
	}
}

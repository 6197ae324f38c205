package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/config"
	"nightporter/fsm"
)

func TestKindsOfEventsInTheFile(t *testing.T) {
	var of []string
	for _, k := range fsm.EventKinds() {
		of = append(of, string(k))
	}
	if !slices.Equal(of, config.EventKinds()) {
		t.Errorf("the log has %q, the file knows %q", of, config.EventKinds())
	}
}

func TestMomentsOfHosts(t *testing.T) {
	for _, one := range []struct {
		e    fsm.Event
		want string
	}{
		{fsm.Event{Kind: fsm.EventPower, From: "suspending", To: "asleep", Reason: fsm.NodeIdle}, "asleep"},
		{fsm.Event{Kind: fsm.EventPower, From: "waking", To: "awake", Reason: fsm.WokeUp}, "wake"},
		{fsm.Event{Kind: fsm.EventPower, From: "asleep", To: "awake", Reason: fsm.WokeUnasked}, "wake"},
		{fsm.Event{Kind: fsm.EventPower, From: "asleep", To: "awake", Reason: fsm.SuspendFailed}, ""},
		{fsm.Event{Kind: fsm.EventPower, From: "waking", To: "awake", Reason: fsm.SleepCancelled}, ""},
		{fsm.Event{Kind: fsm.EventPower, From: "off", To: "awake", Reason: fsm.NodeReturned}, ""},
		{fsm.Event{Kind: fsm.EventPower, From: "awake", To: "suspending", Reason: fsm.NodeIdle}, ""},
		{fsm.Event{Kind: fsm.EventWake, What: fsm.Ended, Reason: fsm.GaveUp}, "failed_wake"},
		{fsm.Event{Kind: fsm.EventPower, From: string(fsm.Waking), To: string(fsm.Asleep), Reason: fsm.GaveUp}, ""}, // it did not go to sleep: it never woke
		{fsm.Event{Kind: fsm.EventWake, What: fsm.Ended, Reason: fsm.WokeUp}, ""},
		{fsm.Event{Kind: fsm.EventWake, What: fsm.Begun, Reason: fsm.Demand}, ""},
	} {
		if got := momentOf(one.e); got != one.want {
			t.Errorf("%+v is %q, want %q", one.e, got, one.want)
		}
	}
}

// newsroom is a notifier whose webhook is the test's.
type newsroom struct {
	*notifier
	leading atomic.Bool
	mu      sync.Mutex
	got     []string // the IDs that came
	answer  func() (bool, error)
	stop    func()
}

func (r *newsroom) answers(f func() (bool, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// told waits until nothing happens by itself, and gives what came.
func (r *newsroom) told() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func inNewsroom(t *testing.T, f func(s *stage, r *newsroom)) {
	onStage(t, func(t *testing.T, s *stage) {
		s.raft.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.Sleeps, Format: fsm.Format}})
		r := &newsroom{answer: func() (bool, error) { return false, nil }}
		log := slog.New(slog.DiscardHandler)
		post := func(_ context.Context, body []byte) (bool, error) {
			var p Posting
			if err := json.Unmarshal(body, &p); err != nil || p.Version != 1 || p.Cluster != "lab" || p.Leader != "a" {
				t.Errorf("%s: %v", body, err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			again, err := r.answer()
			if err == nil {
				r.got = append(r.got, p.ID)
			}
			return again, err
		}
		r.notifier = &notifier{
			self: "a", machine: s.machine, leads: r.leading.Load, wall: time.Now, log: log,
			written: func() (uint64, error) { return s.machine.View().Index, nil },
			webhook: webhookOutlet(config.Webhook{URL: "http://x", Events: []string{"power"}, Timeout: time.Second}, post, "lab", "a", r.leading.Load, log),
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.run(ctx) }()
		synctest.Wait()
		r.stop = func() { cancel(); <-ended }
		f(s, r)
		r.stop()
	})
}

// falls has host b begin a sleep and call it off: two events of its power.
func (s *stage) falls(wait time.Duration) {
	s.raft.must(fsm.SetPower{Node: "b", From: fsm.Awake, To: fsm.Suspending, Sleeps: s.record().Sleeps, Reason: fsm.OperatorSleep, At: time.Now()})
	s.raft.must(fsm.SetPower{Node: "b", From: fsm.Suspending, To: fsm.Awake, Sleeps: s.record().Sleeps, Reason: fsm.SleepCancelled, At: time.Now()})
	time.Sleep(wait)
	synctest.Wait()
}

// The ID of an event is its entry's, however many entries are seen at one time.
func TestIDsOfEvents(t *testing.T) {
	list := []fsm.Event{{Index: 5}, {Index: 6}, {Index: 6}, {Index: 9}}
	want := []string{"5.0", "6.0", "6.1", "9.0"}
	for cut := range len(list) + 1 {
		if cut == 2 {
			continue // events of an entry come together
		}
		var got []string
		for _, x := range append(numbered(list[:cut]), numbered(list[cut:])...) {
			got = append(got, x.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("cut at %d: %q", cut, got)
		}
	}
}

// A host that was away catches up with what others have told, and tells nothing of it when it comes to lead.
func TestNothingOldIsTold(t *testing.T) {
	inNewsroom(t, func(s *stage, r *newsroom) {
		old := time.Now().Add(-time.Hour)
		s.raft.must(fsm.SetPower{Node: "b", From: fsm.Awake, To: fsm.Suspending, Sleeps: s.record().Sleeps, Reason: fsm.OperatorSleep, At: old})
		s.raft.must(fsm.SetPower{Node: "b", From: fsm.Suspending, To: fsm.Awake, Sleeps: s.record().Sleeps, Reason: fsm.SleepCancelled, At: old})
		synctest.Wait()
		r.leading.Store(true)
		time.Sleep(2 * noticeEvery)
		if got := r.told(); len(got) != 0 {
			t.Errorf("%q", got)
		}
	})
}

// Only who leads tells; who comes to lead tells what is new enough that nobody else may have told it, and nothing from before its start.
func TestWhoLeadsTells(t *testing.T) {
	inNewsroom(t, func(s *stage, r *newsroom) {
		s.falls(2 * noticeLimit)
		r.leading.Store(true)
		time.Sleep(2 * noticeEvery)
		synctest.Wait()
		if len(r.told()) != 0 {
			t.Errorf("told what another leader has told long ago: %v", r.told())
		}
		r.leading.Store(false)
		s.falls(noticeLimit / 2)
		r.leading.Store(true)
		time.Sleep(2 * noticeEvery)
		synctest.Wait()
		if len(r.told()) != 2 {
			t.Errorf("after a change of leaders %v were told, want two", r.told())
		}
		s.falls(0)
		if len(r.told()) != 4 || r.told()[0] == r.told()[1] {
			t.Errorf("%v were told, want four", r.told())
		}
	})
}

// What cannot be told is tried again, in order, until it is too old; what is refused is left out; the status says so.
func TestAnOutletThatFails(t *testing.T) {
	inNewsroom(t, func(s *stage, r *newsroom) {
		r.leading.Store(true)
		tries := 0
		r.answers(func() (bool, error) { tries++; return true, errors.New("it answered 503") })
		s.falls(0)
		s.falls(10 * time.Minute)
		if len(r.told()) != 0 || tries < 10 || tries > 25 { // 1, 2, 4 .. 60 s
			t.Errorf("%d tries in ten minutes, %v told", tries, r.told())
		}
		if p := r.webhook.problems(); len(p) != 1 || p[0] != "the webhook failed: it answered 503; 4 events waiting" {
			t.Errorf("%q", p)
		}
		r.answers(func() (bool, error) { return false, nil })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(r.told()) != 4 || !slices.IsSorted(r.told()) || len(r.webhook.problems()) != 0 {
			t.Errorf("then %v, %q", r.told(), r.webhook.problems())
		}
		r.answers(func() (bool, error) { return false, errors.New("it answered 404") })
		s.falls(0)
		if p := r.webhook.problems(); len(p) != 1 || p[0] != "the webhook failed: it answered 404; 2 events not told" {
			t.Errorf("%q", p)
		}
		r.answers(func() (bool, error) { return true, errors.New("no route") })
		for range outletRoom {
			s.falls(0)
		}
		time.Sleep(2 * outletPatience)
		synctest.Wait()
		r.answers(func() (bool, error) { return false, nil })
		s.falls(2 * time.Minute)
		if len(r.told()) != 6 || len(r.webhook.problems()) != 0 {
			t.Errorf("after an outlet that was full, %d were told, %q", len(r.told()), r.webhook.problems())
		}
	})
}

// The end of an agent does not wait for a receiver that hangs.
func TestTheEndDoesNotWaitForAReceiver(t *testing.T) {
	inNewsroom(t, func(s *stage, r *newsroom) {
		r.leading.Store(true)
		r.answers(func() (bool, error) { return true, errors.New("no route") })
		s.falls(time.Second)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > noticeEvery {
			t.Errorf("it took %v", took)
		}
	})
}

// The real thing: what is asked of a receiver, and what its answers mean.
func TestPosting(t *testing.T) {
	var status int
	var seen *http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	post := systemWebhook(config.Webhook{URL: srv.URL + "/hook?key=private", TokenFile: token}, "v9")
	for code, want := range map[int]string{
		200: "false <nil>", 204: "false <nil>", 429: "true it answered 429 Too Many Requests", 500: "true it answered 500 Internal Server Error",
		404: "false it answered 404 Not Found, so this event is not sent again", 302: "false it redirects elsewhere, which is not followed; write the right address",
	} {
		status = code
		again, err := post(t.Context(), []byte("{}"))
		if got := fmt.Sprint(again, " ", err); got != want {
			t.Errorf("%d: %q, want %q", code, got, want)
		}
		if seen.Method != http.MethodPost || seen.Header.Get("Authorization") != "Bearer s3cret" || seen.Header.Get("Content-Type") != "application/json" || seen.UserAgent() != "nightporter/v9" {
			t.Errorf("%s %v", seen.Method, seen.Header)
		}
	}
	srv.Close()
	again, err := post(t.Context(), []byte("{}"))
	if !again || err == nil || strings.Contains(err.Error(), "private") {
		t.Errorf("nobody there: %v, %v", again, err)
	}
	if err := os.WriteFile(token, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err = post(t.Context(), []byte("{}")); !again || err == nil || !strings.Contains(err.Error(), "holds no token") {
		t.Errorf("an empty token: %v, %v", again, err)
	}
}

package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/chaos/history"
)

// recorder writes the history of a run. All times are true times.
type recorder struct {
	mu     sync.Mutex
	began  time.Time
	h      history.History
	uses   history.Collector
	first  map[entry]time.Time // when an entry of the log was first on any disk
	log    []line
	leader string    // as it said itself last
	trace  io.Writer // gets every line at once, details too; nil = nobody
}

// entry is one entry of the log.
type entry struct{ index, term uint64 }

// line is one line of an agent's log.
type line struct {
	host string
	rec  slog.Record
}

// words gives the line with its time since the beginning.
func (l line) words(began time.Time) string {
	s := fmt.Sprintf("%10.6f %-8s %-5s %s", l.rec.Time.Sub(began).Seconds(), l.host, l.rec.Level, l.rec.Message)
	l.rec.Attrs(func(a slog.Attr) bool { s += " " + a.String(); return true })
	return s
}

func newRecorder() *recorder {
	return &recorder{began: time.Now(), first: make(map[entry]time.Time)}
}

// note runs f on the history.
func (r *recorder) note(f func(h *history.History)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.h)
}

func (r *recorder) use(service, host, words string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses.Use(service, host, time.Now(), func() string { return words })
}

func (r *recorder) stored(logs []*raft.Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range logs {
		if e := (entry{l.Index, l.Term}); r.first[e].IsZero() {
			r.first[e] = time.Now()
		}
	}
}

// firstStored is when an entry was first on a disk; zero = never, or under another term.
func (r *recorder) firstStored(index, term uint64) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first[entry{index, term}]
}

func (r *recorder) exit(host, why string, excused bool) {
	r.note(func(h *history.History) {
		h.Exits = append(h.Exits, history.Exit{Host: host, At: time.Now(), Code: 1, Why: why, Excused: excused})
	})
}

func (r *recorder) power(host string, p history.PowerState) {
	r.note(func(h *history.History) {
		h.Powers = append(h.Powers, history.Power{Host: host, At: time.Now(), State: p})
	})
}

func (r *recorder) suspend(host string, voters []string) {
	r.note(func(h *history.History) {
		h.Suspends = append(h.Suspends, history.Suspend{Host: host, At: time.Now(), Voters: voters})
	})
}

func (r *recorder) magic(from, to string) {
	r.note(func(h *history.History) {
		h.Magics = append(h.Magics, history.Magic{At: time.Now(), From: from, Target: to})
	})
}

func (r *recorder) demand(service, host, client string) {
	r.note(func(h *history.History) {
		h.Demands = append(h.Demands, history.Demand{At: time.Now(), Service: service, Host: host, Client: client})
	})
}

func (r *recorder) refusal(service, host, client string) {
	r.note(func(h *history.History) {
		h.Refusals = append(h.Refusals, history.Refusal{
			At: time.Now(), Service: service, Host: host, Client: client, What: "RST", Fresh: true,
		})
	})
}

func (r *recorder) request(q history.Request) {
	r.note(func(h *history.History) { h.Requests = append(h.Requests, q) })
}

func (r *recorder) leads() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leader
}

// handler takes the log of one host's agent. Lines are put into words only when somebody reads them.
func (r *recorder) handler(host string) slog.Handler { return &handler{rec: r, host: host} }

type handler struct {
	rec  *recorder
	host string
	with []slog.Attr
}

// saysItLeads is the line by which the schedule knows where to aim.
const saysItLeads = "this node leads the cluster now"

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.rec.trace != nil
}

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, rec slog.Record) error {
	rec = rec.Clone()
	rec.AddAttrs(h.with...)
	h.rec.mu.Lock()
	defer h.rec.mu.Unlock()
	if rec.Message == saysItLeads {
		h.rec.leader = h.host
	}
	l := line{h.host, rec}
	h.rec.log = append(h.rec.log, l)
	if h.rec.trace != nil {
		fmt.Fprintln(h.rec.trace, l.words(h.rec.began))
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(a []slog.Attr) slog.Handler {
	c := *h
	c.with = append(append([]slog.Attr(nil), h.with...), a...)
	return &c
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(string) slog.Handler { return h }

// tell puts a word of the run's own between the agents' lines.
func (r *recorder) tell(f string, args ...any) {
	rec := slog.NewRecord(time.Now(), slog.LevelInfo, fmt.Sprintf(f, args...), 0)
	_ = (&handler{rec: r, host: "*"}).Handle(context.Background(), rec) // it has no errors
}

package history

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Journal is a history while it is being made, by several goroutines.
type Journal struct {
	mu   sync.Mutex
	h    *History
	away map[string]int // hosts whose agents are meant to be gone, and how many reasons there are
	life map[string]int // how often that changed
}

// NewJournal begins one.
func NewJournal(h *History) *Journal {
	return &Journal{h: h, away: map[string]int{}, life: map[string]int{}}
}

// Do lets f change the history. It must not wait for anything.
func (j *Journal) Do(f func(h *History)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f(j.h)
}

// Fault notes that something is about to be done to the cluster.
func (j *Journal) Fault(f Fault) *Running {
	j.mu.Lock()
	defer j.mu.Unlock()
	f.From = time.Now()
	j.h.Faults = append(j.h.Faults, f)
	return &Running{j: j, index: len(j.h.Faults) - 1}
}

// Running is a fault that is not over.
type Running struct {
	j     *Journal
	index int
}

func (r *Running) change(f func(*Fault)) {
	r.j.mu.Lock()
	defer r.j.mu.Unlock()
	f(&r.j.h.Faults[r.index])
}

// Took notes that the fault is in force now, and what else is to be said of it.
func (r *Running) Took(detail string, args ...any) {
	r.change(func(f *Fault) {
		f.Took = time.Now()
		if detail != "" {
			f.Detail = fmt.Sprintf(detail, args...)
		}
	})
}

// Skewed notes by how much the agent's wall clock is wrong.
func (r *Running) Skewed(wall time.Duration) { r.change(func(f *Fault) { f.Wall = wall }) }

// Mute and Dark say what the fault does to its host; see Fault.
func (r *Running) Mute() { r.change(func(f *Fault) { f.Mute = true }) }

// Dark says that no frame can come from the host.
func (r *Running) Dark() { r.change(func(f *Fault) { f.Mute, f.Dark = true, true }) }

// Lifts notes that the fault is about to be lifted: from now on it promises nothing about its host.
func (r *Running) Lifts() {
	r.change(func(f *Fault) {
		if f.Mute || f.Dark {
			f.To = time.Now()
		}
	})
}

// Over notes that the fault has been lifted; it can have no effect any more.
func (r *Running) Over() {
	r.change(func(f *Fault) {
		now := time.Now()
		if (f.Mute || f.Dark) && !f.To.IsZero() { // what it promised ended before; what it may still do goes on until now
			r.j.h.Faults = append(r.j.h.Faults, Fault{Kind: f.Kind, Host: f.Host, From: f.To, Took: f.To, To: now, Detail: "being lifted"})
			return
		}
		f.To = now
	})
}

// Away says that the agent of a host is meant to be gone, or not any more.
func (j *Journal) Away(host string, is bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.life[host]++
	if is {
		j.away[host]++
		return
	}
	j.away[host]--
}

// IsAway says whether the agent of a host is meant to be gone.
func (j *Journal) IsAway(host string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.away[host] > 0
}

// Life numbers the lives of a host's agent: it grows with every end and every beginning.
func (j *Journal) Life(host string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.life[host]
}

// Finish puts everything in its order.
func (j *Journal) Finish() *History {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := j.h
	slices.SortStableFunc(h.Faults, func(a, b Fault) int { return a.From.Compare(b.From) })
	slices.SortStableFunc(h.Powers, func(a, b Power) int { return a.At.Compare(b.At) })
	slices.SortStableFunc(h.Suspends, func(a, b Suspend) int { return a.At.Compare(b.At) })
	slices.SortStableFunc(h.Samples, func(a, b Sample) int { return a.At.Compare(b.At) })
	slices.SortStableFunc(h.Commands, func(a, b Command) int { return a.Began.Compare(b.Began) })
	slices.SortStableFunc(h.Requests, func(a, b Request) int { return a.Began.Compare(b.Began) })
	slices.SortStableFunc(h.Spans, func(a, b Span) int { return cmp.Or(cmp.Compare(a.Service, b.Service), a.First.Compare(b.First)) })
	return h
}

package sim

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/chaos/history"
	"nightporter/fsm"
)

const (
	foundLimit  = 30 * time.Second // for the cluster to be whole in the beginning
	tail        = askMost + time.Second
	sampleEvery = 5 * time.Second
	askLimit    = 3 * time.Second // for a question at an agent's socket
)

// Result is what a run leaves.
type Result struct {
	Plan    Plan
	History *history.History
	log     []line
	began   time.Time
}

// Run carries out a plan. It is to be called in a bubble of testing/synctest, and returns when nothing of it is left.
// trace gets the agents' logs with all details as they come; nil = nobody wants them.
func Run(p Plan, secret string, trace io.Writer) (*Result, error) {
	w, err := newWorld(p, secret)
	if err != nil {
		return nil, err
	}
	w.rec.trace = trace
	for _, m := range w.machines {
		m.start()
	}
	if why := w.awaitWhole(); why != "" {
		w.rec.note(func(h *history.History) { h.Blind = append(h.Blind, why) })
	} else {
		w.live()
	}
	w.finish()
	w.rec.note(forgetIdle)
	h := w.rec.h
	h.Spans = w.rec.uses.Spans()
	slices.SortStableFunc(h.Faults, func(a, b history.Fault) int { return a.From.Compare(b.From) })
	slices.SortStableFunc(h.Spans, func(a, b history.Span) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), a.First.Compare(b.First))
	})
	return &Result{Plan: p, History: &h, log: w.rec.log, began: w.rec.began}, nil
}

// awaitWhole waits until every host is a member and every service is held. It says what is missing, or "".
func (w *world) awaitWhole() string {
	limit := time.Now().Add(foundLimit)
	for {
		missing := w.missing()
		if missing == "" {
			return ""
		}
		if time.Now().After(limit) {
			return "the cluster was not whole after " + foundLimit.String() + ": " + missing
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *world) missing() string {
	held := map[string]int{}
	for _, m := range w.machines {
		for _, s := range m.kernel.open() {
			held[s]++
		}
	}
	for _, s := range w.plan.Services {
		if s.Founded && held[s.Name] != 1 {
			return fmt.Sprintf("%s is open on %d hosts", s.Name, held[s.Name])
		}
	}
	for _, m := range w.machines {
		st, err := m.status()
		if err != nil {
			return m.name + ": " + err.Error()
		}
		if len(st.Nodes) < len(w.machines) {
			return fmt.Sprintf("%s knows %d hosts", m.name, len(st.Nodes))
		}
	}
	return ""
}

func (m *machine) status() (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	return m.admin().Status(ctx)
}

// live is the run itself: clients ask, steps are taken, all is healed, and the cluster has its time to settle.
func (w *world) live() {
	began := time.Now()
	w.rec.note(func(h *history.History) { h.Began = began })
	w.begun.Store(true)
	for i, c := range w.clients {
		for j, s := range w.plan.Services {
			w.running.Go(func() {
				if w.plan.Pauses > 0 {
					c.visits(s.Name, servicePort, rand.New(rand.NewPCG(w.plan.Seed, uint64(100*i+j))))
					return
				}
				c.ask(s.Name, servicePort)
			})
		}
	}
	w.running.Go(w.sample)
	var steps sync.WaitGroup
	for _, s := range w.plan.Steps {
		steps.Go(func() {
			select {
			case <-time.After(time.Until(began.Add(s.At))):
				w.take(s)
			case <-w.ending:
			}
		})
	}
	time.Sleep(w.plan.Length)
	close(w.calm)
	steps.Wait()
	w.healed()
	calm := time.Now()
	w.running.Go(w.rouse)
	w.rec.note(func(h *history.History) { h.Calm = calm })
	time.Sleep(w.plan.Converge())
	for by := time.Now().Add(tidying); !w.look() && time.Now().Before(by); {
		time.Sleep(tidying / 4)
	}
	time.Sleep(time.Until(calm.Add(w.plan.Settle() + tail)))
	w.rec.note(func(h *history.History) { h.Ended = time.Now() })
	for _, m := range w.machines {
		w.tell(m)
	}
}

// rouse presses the power button of every machine that goes to sleep in the calm, since somebody asked for that before; after
// a while, since a sleep of a moment may be so short that no clock tells of it.
func (w *world) rouse() {
	slept := make(map[*machine]bool)
	for {
		select {
		case <-time.After(2 * time.Second):
		case <-w.ending:
			return
		}
		for _, m := range w.machines {
			if slept[m] && !w.mayRest(m) {
				m.call("power button")
			}
			slept[m] = m.state() == history.Asleep
		}
	}
}

// forgetIdle drops what clients asked, after the faults, of services that nobody defines in the end, and of those that an
// operator gave to a host on which they do not run: it holds them until a target comes back.
func forgetIdle(h *history.History) {
	serving := map[string]bool{}
	for _, e := range h.Ends {
		for _, s := range e.Defined {
			serving[s] = true
		}
	}
	for _, s := range h.Setup.Services {
		if of := h.Of(s.Name); len(of) > 0 {
			last := of[len(of)-1]
			parked := last.Reason == string(fsm.OperatorMoved) && !slices.Contains(s.Targets, last.To)
			serving[s.Name] = serving[s.Name] && !parked
		}
	}
	h.Requests = slices.DeleteFunc(h.Requests, func(r history.Request) bool {
		return !serving[r.Service] && r.Began.After(h.Calm)
	})
}

// sample asks every agent now and then what it knows.
func (w *world) sample() {
	for {
		select {
		case <-time.After(sampleEvery):
		case <-w.ending:
			return
		}
		for _, m := range w.machines {
			m.mu.Lock()
			l := m.life
			up := m.power == history.Up
			m.mu.Unlock()
			if l != nil && up && !l.proc.Stopped() {
				w.running.Go(func() { w.ask(m, l.n) })
			}
		}
	}
}

func (w *world) ask(m *machine, life int) {
	asked := time.Now()
	st, err := m.status()
	if err != nil {
		return
	}
	s := history.Sample{At: asked, Host: m.name, Life: life, Leader: st.Leader, Voters: st.Quorum.Voters, Epochs: map[string]uint64{}}
	for _, v := range st.Services {
		s.Epochs[v.Name] = v.Epoch
		if v.Fence.State == "open" {
			s.Open = append(s.Open, v.Name)
		}
	}
	m.mu.Lock()
	same := m.life != nil && m.life.n == life
	m.mu.Unlock()
	if same {
		w.rec.note(func(h *history.History) { h.Samples = append(h.Samples, s) })
	}
}

// tidying is more than a host keeps the address of a service that was handed on just when the end is looked at.
const tidying = 2 * time.Second

// look asks every host in the end. It says whether no address is left anywhere that its host does not hold.
func (w *world) look() bool {
	var all []history.End
	for _, m := range w.machines {
		e := history.End{Host: m.name, Rests: w.mayRest(m), Owners: map[string]string{}, Open: m.kernel.open(), Present: m.kernel.present()}
		e.Up = !e.Rests && m.state() == history.Up
		slices.Sort(e.Open)
		slices.Sort(e.Present)
		st, err := m.status()
		if err != nil {
			e.Problem = err.Error()
		}
		for _, n := range st.Nodes {
			e.Member = e.Member || n.Name == m.name
		}
		for _, s := range st.Services {
			e.Owners[s.Name] = s.Owner
			e.Defined = append(e.Defined, s.Name)
		}
		e.Failover = time.Duration(st.Failover)
		all = append(all, e)
	}
	w.rec.note(func(h *history.History) { h.Ends = all })
	setup := w.plan.setup()
	return !slices.ContainsFunc(all, func(e history.End) bool { return e.Up && len(e.Leftover(setup)) > 0 })
}

// tell takes over what a host says of the owners. A record is no younger than the first time at which its entry was on a disk.
func (w *world) tell(m *machine) {
	m.mu.Lock()
	log := m.disk.raft
	m.mu.Unlock()
	for _, s := range w.plan.Services {
		ctx, cancel := context.WithTimeout(context.Background(), askLimit)
		said, err := m.admin().History(ctx, s.Name)
		cancel()
		if err != nil {
			continue // it never existed
		}
		var out []history.Record
		for _, c := range said.Changes {
			out = append(out, history.Record{
				Service: s.Name, Epoch: c.Epoch, Index: c.Index, From: c.From, To: c.To, Reason: c.Reason, By: c.By,
				At: w.rec.firstStored(c.Index, log.term(c.Index)),
			})
		}
		w.rec.note(func(h *history.History) { h.Tell(m.name, s.Name, out) })
	}
}

// finish ends everything and waits for it.
func (w *world) finish() {
	close(w.ending)
	if !w.isCalm() {
		close(w.calm)
	}
	for _, m := range w.machines {
		m.kill(true)
		m.control.Kill(true)
	}
	w.running.Wait()
	time.Sleep(stragglers)
}

// stragglers is time for what the libraries do not wait for when they are shut down: a probe of gossip, a handshake.
const stragglers = 30 * time.Second

// Log gives the agents' logs in words.
func (r *Result) Log() []string {
	var out []string
	for _, l := range r.log {
		out = append(out, l.words(r.began))
	}
	return out
}

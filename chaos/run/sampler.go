package run

import (
	"context"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// sampler asks the agents all the time what they think. The nemesis finds its victims by it, and the checks compare what
// one agent says over time. It also does what a service manager does: an agent that ended by itself is started again.
type sampler struct {
	lab      *lab.Lab
	journal  *history.Journal
	hosts    []string
	services []history.Service
	tell     func(who, f string, args ...any)

	leaving map[string]bool // under the journal's lock

	mu   sync.Mutex
	last map[string]heard
	next int // whose history is asked for next
}

// heard is an agent's last answer.
type heard struct {
	at     time.Time
	status api.Status
}

const (
	sampleEvery = 400 * time.Millisecond
	sampleLimit = time.Second
	// historyEvery: the log keeps the last 200 changes of a service, which is minutes of the worst.
	historyEvery = 8 // samples
)

func (s *sampler) run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.round(ctx, round%historyEvery == 0)
	}
}

// round asks everybody once.
func (s *sampler) round(ctx context.Context, histories bool) {
	away := map[string]bool{}
	for _, h := range s.hosts {
		away[h] = s.journal.IsAway(h)
	}
	st, err := s.lab.Status(ctx)
	if err != nil {
		return // the laboratory ends
	}
	var up []string
	for _, h := range st.Hosts {
		switch {
		case h.Power != lab.PowerUp || away[h.Name] || s.journal.IsAway(h.Name):
		case h.Agent == "running":
			up = append(up, h.Name)
		default:
			s.ended(ctx, h)
		}
	}
	var all sync.WaitGroup
	for _, h := range up {
		all.Go(func() { s.ask(ctx, h) })
	}
	if histories && len(up) > 0 {
		s.next++
		all.Go(func() { s.historyOf(ctx, up[s.next%len(up)]) })
	}
	all.Wait()
}

// ended notes an agent that is gone though nobody ended it, and starts it again.
func (s *sampler) ended(ctx context.Context, h lab.HostStatus) {
	s.tell(h.Name, "its agent ended by itself: %s", h.Agent)
	s.journal.Do(func(x *history.History) {
		// A leave that nobody answered goes on: the agent ends when it has come through.
		x.Exits = append(x.Exits, history.Exit{Host: h.Name, At: time.Now(), Why: h.Agent, Excused: s.leaving[h.Name] && h.Agent == "exited with 0"})
		s.leaving[h.Name] = false
	})
	s.journal.Away(h.Name, true)
	defer s.journal.Away(h.Name, false)
	if err := s.lab.Host(h.Name).Start(ctx); err != nil {
		s.tell(h.Name, "its agent cannot be started again: %v", err)
	}
}

func (s *sampler) ask(ctx context.Context, host string) {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	life, at := s.journal.Life(host), time.Now()
	st, err := s.lab.Host(host).API().Status(ctx)
	if err != nil || s.journal.Life(host) != life {
		return
	}
	s.mu.Lock()
	s.last[host] = heard{time.Now(), st}
	s.mu.Unlock()
	sample := history.Sample{At: at, Host: host, Life: life, Leader: st.Leader, Voters: st.Quorum.Voters, Epochs: map[string]uint64{}}
	for _, sv := range st.Services {
		sample.Epochs[sv.Name] = sv.Epoch
		if sv.Fence.State == "open" {
			sample.Open = append(sample.Open, sv.Name)
		}
	}
	s.journal.Do(func(h *history.History) { h.Samples = append(h.Samples, sample) })
}

// historyOf takes down what a host tells of all services.
func (s *sampler) historyOf(ctx context.Context, host string) {
	for _, sv := range s.services {
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		said, err := s.lab.Host(host).API().History(ask, sv.Name)
		cancel()
		if err != nil {
			continue // never defined, or the host went away
		}
		records := make([]history.Record, len(said.Changes))
		for i, c := range said.Changes {
			records[i] = history.Record{Epoch: c.Epoch, Index: c.Index, From: c.From, To: c.To, Reason: c.Reason, By: c.By, At: c.At}
		}
		s.journal.Do(func(h *history.History) { h.Tell(host, sv.Name, records) })
	}
}

// fresh gives the answers that are not too old to act on.
func (s *sampler) fresh() map[string]api.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]api.Status{}
	for h, l := range s.last {
		if time.Since(l.at) < 3*sampleEvery {
			out[h] = l.status
		}
	}
	return out
}

// Leader implements nemesis.Scout: whom most name.
func (s *sampler) Leader() string {
	votes := map[string]int{}
	best := ""
	for _, st := range s.fresh() {
		if st.Leader == "" {
			continue
		}
		votes[st.Leader]++
		if n := votes[st.Leader]; best == "" || n > votes[best] || n == votes[best] && st.Leader < best {
			best = st.Leader
		}
	}
	return best
}

// Holder implements nemesis.Scout: whose fence is open, else whom most name as owner.
func (s *sampler) Holder(service string) string {
	owner := ""
	for h, st := range s.fresh() {
		for _, sv := range st.Services {
			if sv.Name != service {
				continue
			}
			if sv.Fence.State == "open" {
				return h
			}
			owner = sv.Owner
		}
	}
	return owner
}

// Serves implements nemesis.Scout.
func (s *sampler) Serves(service, host string) bool {
	for _, sv := range s.services {
		if sv.Name == service {
			return slices.Contains(sv.Targets, host)
		}
	}
	return false
}

// Address implements nemesis.Scout.
func (s *sampler) Address(service string) lab.Claim {
	for _, sv := range s.services {
		if sv.Name == service {
			return lab.Claim{Addr: sv.Addrs[0], MAC: mustMAC(sv.MAC)}
		}
	}
	return lab.Claim{}
}

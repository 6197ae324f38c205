package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/lease"
)

const (
	// askPatience is how long an owner may take to answer: somebody waits for the screen, and it may be dead.
	askPatience = 500 * time.Millisecond
	// askEvery is how often an owner is asked for all who watch at this host. An answer costs about 8 KB on the wire, and the owner may be a
	// host that wants to sleep: this stays far below what counts as use (stay_awake: network, 100 KB in a second).
	askEvery = 2 * time.Second
)

// asked keeps what the owners of services last said of them, to those who watch.
type asked struct {
	mu    sync.Mutex
	words map[string]word // by node
}

// word is one owner's answer.
type word struct {
	begun, heard lease.Boot        // the last question, the last answer
	said         api.Status        // nothing in it: it did not answer
	opened       map[string]uint64 // by service: the epoch of the last announcement that was here before the question
}

// asks are the effects that it takes.
type asks struct {
	now    func() lease.Boot
	opened func(service string) uint64 // the epoch under which it was announced to be open
	status func(ctx context.Context, node string) (api.Status, error)
}

// fill has the owners of the services say themselves how their leases and fences are, all at one time. One that was asked a short while ago
// is not asked again unless fresh says so: what it said then stays. What is known of one that does not answer stays as it is.
func (a *asked) fill(ctx context.Context, w asks, s *api.Status, fresh bool) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	now := w.now()
	var asking sync.WaitGroup
	for _, n := range s.Nodes {
		owns := slices.ContainsFunc(s.Services, func(v api.ServiceStatus) bool { return v.Owner == n.Name })
		if !owns || !n.Alive || n.Name == s.Node || !a.due(n.Name, now, fresh) {
			continue
		}
		asking.Go(func() {
			before := make(map[string]uint64, len(s.Services))
			for _, v := range s.Services {
				before[v.Name] = w.opened(v.Name)
			}
			got, err := w.status(ctx, n.Name)
			if err != nil {
				got = api.Status{}
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.words[n.Name] = word{begun: now, heard: w.now(), said: got, opened: before}
		})
	}
	asking.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, v := range s.Services {
		if last := a.words[v.Owner]; last.heard != 0 && w.now().Sub(last.heard) < 2*askEvery { // older: whoever asks has no answer yet
			s.Services[i].Holder = last.of(v, w.opened(v.Name))
		}
	}
}

// due says whether a node is to be asked now, and that this is being done.
func (a *asked) due(node string, now lease.Boot, fresh bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	w, known := a.words[node]
	if known && !fresh && now.Sub(w.begun) < askEvery {
		return false
	}
	if a.words == nil {
		a.words = make(map[string]word)
	}
	w.begun = now
	a.words[node] = w
	return true
}

// of is what the owner of a service said of its lease and fence, if it spoke of the same ownership and has not announced since then that it has
// opened it.
func (w word) of(v api.ServiceStatus, opened uint64) api.Holder {
	for _, o := range w.said.Services {
		if o.Name != v.Name || o.Epoch != v.Epoch || o.Owner != v.Owner {
			continue
		}
		if o.Fence.State != "open" && opened >= v.Epoch && w.opened[v.Name] < v.Epoch {
			continue
		}
		return api.Holder{Source: "asked", Lease: o.Lease.State, Fence: o.Fence.State}
	}
	return v.Holder
}

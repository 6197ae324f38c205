package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/lease"
)

// onWatch is a host that watches n, the owner of web, and what n says.
type onWatch struct {
	asked asked
	now   lease.Boot
	opens uint64
	says  api.ServiceStatus
	err   error
	count atomic.Int32
}

func newWatch() *onWatch {
	o := &onWatch{now: lease.Boot(time.Hour), says: api.ServiceStatus{Service: api.Service{Name: "web"}, Owner: "n", Epoch: 4}}
	o.says.Lease.State, o.says.Fence.State = "held", "open"
	return o
}

// look gives what is shown of the owner.
func (o *onWatch) look(t *testing.T, fresh bool) api.Holder {
	t.Helper()
	v := api.ServiceStatus{Service: api.Service{Name: "web"}, Owner: "n", Epoch: 4, Holder: api.Holder{Source: "vote", Lease: "granted"}}
	s := api.Status{Node: "a", Services: []api.ServiceStatus{v}, Nodes: []api.NodeStatus{{Name: "a", Alive: true}, {Name: "m", Alive: true}, {Name: "n", Alive: true}}}
	o.asked.fill(t.Context(), asks{
		now: func() lease.Boot { return o.now }, opened: func(string) uint64 { return o.opens },
		status: func(_ context.Context, node string) (api.Status, error) {
			if o.count.Add(1); node != "n" {
				t.Errorf("%s is asked, which owns nothing", node)
			}
			return api.Status{Services: []api.ServiceStatus{{}, o.says}}, o.err
		},
	}, &s, fresh)
	return s.Services[0].Holder
}

// A watch looks many times in a hand-over. The owner is asked every two seconds, and what it said stands between.
func TestOwnersAreAskedNowAndThen(t *testing.T) {
	o := newWatch()
	want := api.Holder{Source: "asked", Lease: "held", Fence: "open"}
	for range 200 { // ten seconds
		if got := o.look(t, false); got != want {
			t.Fatalf("after %d questions it is shown as %+v", o.count.Load(), got)
		}
		o.now = o.now.Add(watchLeast)
	}
	if n := o.count.Load(); n != 5 {
		t.Errorf("the owner was asked %d times in ten seconds", n)
	}
	if o.look(t, true); o.count.Load() != 6 {
		t.Error("who asks once is told what was so some time ago")
	}
	o.err = errors.New("no answer")
	o.now = o.now.Add(askEvery)
	if got := o.look(t, false); got != (api.Holder{Source: "vote", Lease: "granted"}) {
		t.Errorf("of one that does not answer: %+v", got)
	}
}

// Only what the owner says of the very ownership that this host knows of counts, and what it announced since then counts more.
func TestWhatTheOwnerSaysItself(t *testing.T) {
	o := newWatch()
	o.says.Lease.State, o.says.Fence.State = "asking", "closed"
	if got := o.look(t, false); got != (api.Holder{Source: "asked", Lease: "asking", Fence: "closed"}) {
		t.Errorf("%+v", got)
	}
	o.opens = 4
	if got := o.look(t, false); got.Source != "vote" || o.count.Load() != 1 {
		t.Errorf("it has opened it since then: %+v", got)
	}
	if got := o.look(t, true); got.Fence != "closed" {
		t.Errorf("it says so after that: %+v", got)
	}
	o.says.Epoch = 5
	if got := o.look(t, true); got.Source != "vote" {
		t.Errorf("of another epoch: %+v", got)
	}
}

package cluster

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// clockedTransport notes when each request reaches it.
type clockedTransport struct {
	raft.Transport
	sent chan time.Time
}

func (c *clockedTransport) AppendEntries(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	c.sent <- time.Now()
	return nil
}

// TestHeartbeatsLeaveTogether: whenever they are asked for, at the common instants and not before; entries never wait.
func TestHeartbeatsLeaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		quit := make(chan struct{})
		under := &clockedTransport{sent: make(chan time.Time, 10)}
		mute := new(atomic.Bool)
		p := newPaced(under, 250*time.Millisecond, quit, mute)
		beat := &raft.AppendEntriesRequest{Term: 3}
		for round := range 3 {
			for i := range 2 {
				go func() {
					<-time.After(time.Duration(i*90+round*7+20) * time.Millisecond)
					if err := p.AppendEntries("b", "b", beat, nil); err != nil {
						t.Error(err)
					}
				}()
			}
			for range 2 {
				want := began.Add(time.Duration(round+1) * 250 * time.Millisecond)
				if at := <-under.sent; !at.Equal(want) {
					t.Errorf("a heartbeat left at %v, want %v", at.Sub(began), want.Sub(began))
				}
			}
		}
		<-time.After(10 * time.Millisecond)
		now := time.Now()
		for _, req := range []*raft.AppendEntriesRequest{
			{Term: 3, PrevLogEntry: 7, PrevLogTerm: 2}, {Term: 3, LeaderCommitIndex: 8}, {Term: 3, Entries: []*raft.Log{{Index: 1}}},
		} {
			if err := p.AppendEntries("b", "b", req, nil); err != nil {
				t.Error(err)
			}
			if at := <-under.sent; !at.Equal(now) {
				t.Errorf("%+v was kept for %v", req, at.Sub(now))
			}
		}
		mute.Store(true)
		if err := p.AppendEntries("b", "b", beat, nil); !errors.Is(err, errMute) || len(under.sent) != 0 {
			t.Errorf("a heartbeat of a leader whose disk takes nothing: %v, %d sent", err, len(under.sent))
		}
		entries := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7, PrevLogTerm: 2} // what carries the commit index now and then
		if err := p.AppendEntries("b", "b", entries, nil); !errors.Is(err, errMute) || len(under.sent) != 0 {
			t.Errorf("other requests of a leader whose disk takes nothing: %v, %d sent", err, len(under.sent))
		}
		close(quit)
		if err := p.AppendEntries("b", "b", beat, nil); !errors.Is(err, raft.ErrTransportShutdown) {
			t.Errorf("a heartbeat after the end: %v", err)
		}
	})
}

// TestPacedKeepsPreVotes: Raft asks the transport whether it knows them.
func TestPacedKeepsPreVotes(t *testing.T) {
	_, under := raft.NewInmemTransport("a")
	if _, ok := newPaced(under, time.Second, nil, nil).transport().(raft.WithPreVote); !ok {
		t.Error("pre-votes are lost")
	}
	if _, ok := newPaced(&clockedTransport{}, time.Second, nil, nil).transport().(raft.WithPreVote); ok {
		t.Error("pre-votes are claimed for a transport that has none")
	}
}

// mutedTransport answers nothing while it is muted.
type mutedTransport struct {
	raft.Transport
	muted atomic.Bool
	sent  atomic.Int64 // requests that are no heartbeats
	beats atomic.Int64
}

func (m *mutedTransport) AppendEntries(_ raft.ServerID, _ raft.ServerAddress, req *raft.AppendEntriesRequest, _ *raft.AppendEntriesResponse) error {
	if isHeartbeat(req) {
		m.beats.Add(1)
	} else {
		m.sent.Add(1)
	}
	if m.muted.Load() {
		return errors.New("no answer")
	}
	return nil
}

// TestEntriesWaitForAPeerThatSleeps: they leave as soon as it answers a heartbeat again, and not before.
func TestEntriesWaitForAPeerThatSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := &mutedTransport{}
		quit := make(chan struct{})
		p := newPaced(under, 250*time.Millisecond, quit, new(atomic.Bool))
		beat := func() { _ = p.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: 3}, nil) }
		entries := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7, PrevLogTerm: 2}
		under.muted.Store(true)
		beat()
		done := make(chan error, 1)
		go func() { done <- p.AppendEntries("b", "b", entries, nil) }()
		for range 200 {
			beat()
		}
		if n := under.sent.Load(); n != 0 {
			t.Fatalf("%d requests went to a peer that sleeps", n)
		}
		if err := p.AppendEntries("c", "c", entries, nil); err == nil || under.sent.Load() != 1 {
			t.Fatalf("another peer waits as well: %v", err)
		}
		under.muted.Store(false)
		beat()
		if err := <-done; err != nil || under.sent.Load() != 2 {
			t.Fatalf("after its first answer: %v", err)
		}
		under.muted.Store(true)
		beat()
		go func() { done <- p.AppendEntries("b", "b", entries, nil) }()
		synctest.Wait()
		close(quit)
		if err := <-done; !errors.Is(err, raft.ErrTransportShutdown) {
			t.Errorf("at the end: %v", err)
		}
	})
}

// TestDeafPeers: a peer counts as deaf when it has answered nothing for the limit while this node led, and no longer from its
// first answer on.
func TestDeafPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 2 * time.Second
		under := &mutedTransport{}
		p := newPaced(under, 250*time.Millisecond, make(chan struct{}), new(atomic.Bool))
		beat := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				_ = p.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: 3}, nil)
			}
		}
		want := func(when string, deaf bool) {
			t.Helper()
			if got := p.deaf(limit); got["b"] != deaf || len(got) > 1 {
				t.Errorf("%s: %v", when, got)
			}
		}
		beat(time.Second)
		want("while it answers", false)
		under.muted.Store(true)
		beat(limit)
		want("silent for less than the limit", false)
		beat(time.Second)
		want("silent for longer", true)
		under.muted.Store(false)
		beat(time.Millisecond)
		want("after its first answer", false)
		under.muted.Store(true)
		beat(time.Second)
		time.Sleep(absenceEnds + time.Second) // somebody else leads
		beat(time.Second)
		want("after a time without heartbeats", false)
		beat(limit)
		want("silent again", true)
	})
}

// hangingTransport keeps heartbeats until they are let go.
type hangingTransport struct {
	raft.Transport
	hang chan struct{}
}

func (h *hangingTransport) AppendEntries(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	<-h.hang
	return errors.New("no answer")
}

// TestAPendingHeartbeatIsNoAnswer: a peer that fell silent in the middle of everything is deaf after the limit, however long its
// connection takes to fail.
func TestAPendingHeartbeatIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 2 * time.Second
		under := &hangingTransport{hang: make(chan struct{})}
		p := newPaced(under, 250*time.Millisecond, make(chan struct{}), new(atomic.Bool))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = p.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: 3}, nil)
		}()
		time.Sleep(limit)
		if p.deaf(limit)["b"] {
			t.Error("deaf before the limit")
		}
		time.Sleep(300 * time.Millisecond)
		if !p.deaf(limit)["b"] {
			t.Error("not deaf, though nothing was answered")
		}
		close(under.hang)
		<-done
		if !p.deaf(limit)["b"] {
			t.Error("not deaf after the heartbeat failed")
		}
	})
}

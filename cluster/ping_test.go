package cluster

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// A question reaches an agent with the same secret, whoever it is, and joins nobody; one with another secret or at a port where nobody
// listens gets no answer.
func TestPing(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	home := netip.MustParseAddrPort("127.0.0.1:0")
	said := &lines{}
	unread := make(chan netip.Addr, 8)
	g, err := StartGossip(GossipConfig{
		Node: "a", Cluster: "c", Bind: home, Advertise: home, Key: key, Timing: Derive(time.Second), Meta: Meta{Name: "c"},
		Log: slog.New(slog.NewTextHandler(said, nil)), OnChange: func() {}, OnMessage: func(Message) {}, OnConflict: func(string) {},
		OnUnread: func(from netip.Addr) { unread <- from },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Shutdown()
	own := g.list.LocalNode()
	at := netip.AddrPortFrom(home.Addr(), own.Port)
	nobody := netip.MustParseAddrPort("127.0.0.1:9")
	got, err := Ping(t.Context(), Keys{Gossip: key}, home.Addr(), []netip.AddrPort{at, nobody})
	if err != nil || got[0] != nil || !errors.Is(got[1], ErrNoAnswer) {
		t.Errorf("with the cluster's key: %v %v", got, err)
	}
	if m := g.Members(); len(m) != 1 {
		t.Errorf("the agent has met %v", m)
	}
	if words := said.String(); strings.Contains(words, "doctor") || len(unread) > 0 {
		t.Errorf("the agent makes much of a question: %s", words)
	}
	got, err = Ping(t.Context(), Keys{Gossip: bytes.Repeat([]byte{2}, 32)}, home.Addr(), []netip.AddrPort{at})
	if err != nil || !errors.Is(got[0], ErrNoAnswer) {
		t.Errorf("with another key: %v %v", got, err)
	}
	if from := <-unread; from != home.Addr() || len(unread) > 0 { // told once, though it asked three times
		t.Errorf("a message that cannot be read came from %s, and %d more", from, len(unread))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err = Ping(ctx, Keys{Gossip: key}, home.Addr(), []netip.AddrPort{nobody}); err != nil || !errors.Is(got[0], context.Canceled) {
		t.Errorf("called off: %v %v", got, err)
	}
}

// lines is a log that several write.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

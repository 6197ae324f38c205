package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"nightporter/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testID = "00112233445566778899aabbccddeeff"

var testSecret = []byte("0123456789abcdef0123456789abcdef")

// book is a Directory that tests write into.
type book struct {
	mu    sync.Mutex
	addrs map[string]netip.AddrPort
	pins  map[string]string
	other string // a node of another cluster
}

func (b *book) Impostor(n, pin string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, ok := b.pins[n]; ok && p != pin {
		return n + " shows another key than the one on record"
	}
	return ""
}

func (b *book) Stranger(n string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n == b.other {
		return n + " belongs to another cluster"
	}
	return ""
}

func (b *book) Addr(n string) (netip.AddrPort, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.addrs[n]
	return a, ok
}

// host is one Raft node over TLS on loopback, with its log on disk.
type host struct {
	name    string
	dir     string
	machine *fsm.Machine
	trans   *Transport
	raft    *Raft
}

func testLog(t testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	fmt.Print(string(b))
	return len(b), nil
}

func startHost(t *testing.T, name, dir string, dirBook *book) *host {
	t.Helper()
	keys, err := DeriveKeys(testSecret, "home")
	if err != nil {
		t.Fatal(err)
	}
	id, err := LoadIdentity(dir, keys, name)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{name: name, dir: dir, machine: fsm.NewMachine(testLog(t))}
	if h.trans, err = Listen(netip.MustParseAddrPort("127.0.0.1:0"), id, dirBook, testLog(t)); err != nil {
		t.Fatal(err)
	}
	dirBook.mu.Lock()
	dirBook.addrs[name], dirBook.pins[name] = h.trans.Port(), id.Pin()
	dirBook.mu.Unlock()
	stores, err := OpenStores(dir)
	if err != nil {
		t.Fatal(err)
	}
	timing := Derive(time.Second)
	timing.RaftCommit = 20 * time.Second // so that only a hint can be quick
	h.raft, err = StartRaft(RaftConfig{Node: name, Timing: timing, Machine: h.machine, Stores: stores, Stream: h.trans.RaftLayer(), Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) stop(t *testing.T) {
	t.Helper()
	if err := h.raft.Shutdown(); err != nil {
		t.Error(err)
	}
	if err := h.trans.Close(); err != nil {
		t.Error(err)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		<-tick.C
	}
}

func leaderOf(hosts []*host) *host {
	for _, h := range hosts {
		if h.raft.IsLeader() {
			return h
		}
	}
	return nil
}

func TestTrio(t *testing.T) {
	b := &book{addrs: map[string]netip.AddrPort{}, pins: map[string]string{}}
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	names := []string{"a", "b", "c"}
	start := func() []*host {
		var hosts []*host
		for i, n := range names {
			hosts = append(hosts, startHost(t, n, dirs[i], b))
		}
		return hosts
	}
	hosts := start()
	var servers []raft.Server
	for _, n := range names {
		servers = append(servers, raft.Server{ID: raft.ServerID(n), Address: raft.ServerAddress(n)})
	}
	if has, err := hosts[0].raft.HasState(); err != nil || has {
		t.Fatalf("a new node has state: %v, %v", has, err)
	}
	if err := hosts[0].raft.Bootstrap(servers); err != nil {
		t.Fatal(err)
	}
	until(t, "a leader is elected", func() bool { return leaderOf(hosts) != nil })
	lead := leaderOf(hosts)
	ctx := context.Background()
	if err := lead.raft.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	res, mark, err := lead.raft.Propose(ctx, fsm.Found{Cluster: fsm.Cluster{ID: testID, Name: "home"}, Failover: 2 * time.Second, By: "a"})
	if err != nil || res.Err() != nil {
		t.Fatal(err, res.Err())
	}
	if mark.Index == 0 || mark.Term == 0 {
		t.Fatalf("no mark: %+v", mark)
	}
	// The commit timeout is 20 s, so a follower learns of the commit by the hint, or not in this test's lifetime.
	for _, h := range hosts {
		h.raft.Committed(Mark{Index: mark.Index, Term: mark.Term + 1}) // a false one does nothing
		h.raft.Committed(mark)
		until(t, h.name+" foresees the entry", func() bool { return h.machine.View().State.Cluster.ID == testID })
		if got := h.raft.Journal().LargestFailover(); got != 2*time.Second {
			t.Errorf("%s: the journal's largest failover is %s", h.name, got)
		}
		if h.raft.Journal().NewestConfig() == 0 {
			t.Errorf("%s: the journal knows no configuration", h.name)
		}
		if !slices.Equal(Voters(h.machine.View().Servers), names) {
			t.Errorf("%s: voters %v", h.name, h.machine.View().Servers)
		}
	}
	// A follower cannot commit, and says so.
	for _, h := range hosts {
		if h == lead {
			continue
		}
		if _, _, err := h.raft.Propose(ctx, fsm.SetFailover{Failover: time.Second}); err == nil {
			t.Errorf("%s committed without being the leader", h.name)
		}
	}
	// Power loss of all: everything is there again.
	for _, h := range hosts {
		h.stop(t)
	}
	hosts = start()
	until(t, "a leader after the power loss", func() bool { return leaderOf(hosts) != nil })
	lead = leaderOf(hosts)
	if err := lead.raft.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	if got := lead.machine.View().State; got.Cluster.ID != testID || got.Timing.Failover != 2*time.Second {
		t.Errorf("after a restart of all: %+v", got)
	}
	for _, h := range hosts {
		h.stop(t)
	}
}

// TestPeersAreWhoTheySay: every way in which a peer is not who it should be ends in a refusal.
func TestPeersAreWhoTheySay(t *testing.T) {
	keys, _ := DeriveKeys(testSecret, "home")
	other, _ := DeriveKeys([]byte("another secret, another secret!!"), "home")
	elsewhere, _ := DeriveKeys(testSecret, "office")
	id := func(k Keys, name string) *Identity {
		i, err := LoadIdentity(t.TempDir(), k, name)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	server := id(keys, "srv")
	tests := []struct {
		name   string
		client *Identity
		dial   string
		pins   map[string]string
		other  string
		ok     bool
	}{
		{"a member", id(keys, "cli"), "srv", nil, "", true},
		{"another secret", id(other, "cli"), "srv", nil, "", false},
		{"another cluster with the same secret", id(elsewhere, "cli"), "srv", nil, "", false},
		{"the server is not the one that was dialled", id(keys, "cli"), "x", nil, "", false},
		{"a pinned key that is another one", id(keys, "cli"), "srv", map[string]string{"cli": "00"}, "", false},
		{"a server whose pinned key is another one", id(keys, "cli"), "srv", map[string]string{"srv": "00"}, "", false},
		{"somebody with the server's own name", id(keys, "srv"), "srv", nil, "", false},
		{"a member of another cluster that has the same name and secret", id(keys, "cli"), "srv", nil, "cli", false},
		{"a server of such a cluster", id(keys, "cli"), "srv", nil, "srv", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &book{addrs: map[string]netip.AddrPort{}, pins: map[string]string{}, other: tt.other}
			for n, p := range tt.pins {
				b.pins[n] = p
			}
			s, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), server, b, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			b.addrs["srv"], b.addrs["x"] = s.Port(), s.Port()
			c, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), tt.client, b, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got := make(chan string, 1)
			go func() {
				conn, err := s.APIListener().Accept()
				if err != nil {
					got <- ""
					return
				}
				got <- PeerName(conn)
				conn.Close()
			}()
			conn, err := c.DialAPI(context.Background(), tt.dial)
			if err == nil {
				// In TLS 1.3 the server's refusal of the client comes with the first read.
				if _, rerr := conn.Read(make([]byte, 1)); rerr != nil && rerr != io.EOF {
					err = rerr
				}
				conn.Close()
			}
			s.Close()
			name := <-got
			if tt.ok && (err != nil || name != "cli") {
				t.Errorf("refused: %v (name %q)", err, name)
			}
			if !tt.ok && (err == nil || name != "") {
				t.Errorf("let in as %q, err %v", name, err)
			}
		})
	}
}

// TestSlowPeerBlocksNobody: a connection that never shakes hands does not keep others out.
func TestSlowPeerBlocksNobody(t *testing.T) {
	keys, _ := DeriveKeys(testSecret, "home")
	b := &book{addrs: map[string]netip.AddrPort{}, pins: map[string]string{}}
	sid, _ := LoadIdentity(t.TempDir(), keys, "srv")
	cid, _ := LoadIdentity(t.TempDir(), keys, "cli")
	s, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), sid, b, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	b.addrs["srv"] = s.Port()
	c, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), cid, b, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	for range handshakesEach - 1 {
		conn, err := net.Dial("tcp", s.Port().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := s.APIListener().Accept()
		accepted <- conn
	}()
	conn, err := c.DialAPI(context.Background(), "srv")
	if err != nil {
		t.Fatal(err)
	}
	(<-accepted).Close()
	conn.Close()
	s.Close()
	c.Close()
}

package cluster

import (
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/fsm"
)

// transportOf opens the peer port of a host that has no Raft.
func transportOf(t *testing.T, name string, b *book) *Transport {
	t.Helper()
	keys, err := DeriveKeys(testSecret, "home")
	if err != nil {
		t.Fatal(err)
	}
	id, err := LoadIdentity(t.TempDir(), keys, name)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), id, b, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs[name], b.pins[name] = tr.Port(), id.Pin()
	return tr
}

// TestHangUp: whoever waits for the answer of a host that says nothing is told at once, and nobody is dialled any more.
func TestHangUp(t *testing.T) {
	b := &book{addrs: map[string]netip.AddrPort{}, pins: map[string]string{}}
	layer := transportOf(t, "a", b).RaftLayer()
	transportOf(t, "b", b)
	conn, err := layer.Dial("b", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	layer.(interface{ HangUp() }).HangUp()
	select {
	case err := <-read:
		if err == nil {
			t.Error("something was read")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it still waits for an answer")
	}
	if _, err := layer.Dial("b", time.Second); err == nil {
		t.Error("a host was dialled after that")
	}
}

// slowTerm is a store that holds up the writing of a term.
type slowTerm struct {
	raft.StableStore
	held, goOn chan struct{}
}

func (s *slowTerm) SetUint64(key []byte, v uint64) error {
	if string(key) == termKey && v > 1 {
		s.held <- struct{}{}
		<-s.goOn
	}
	return s.StableStore.SetUint64(key, v)
}

// TestAQueuedTransferEndsWithTheNode: Raft's own goroutine waits for the disk, and never reads it.
func TestAQueuedTransferEndsWithTheNode(t *testing.T) {
	store := raft.NewInmemStore()
	slow := &slowTerm{StableStore: store, held: make(chan struct{}, 8), goOn: make(chan struct{})}
	_, trans := raft.NewInmemTransport("a")
	node, err := StartRaft(RaftConfig{
		Node: "a", Timing: Derive(time.Second), Machine: fsm.NewMachine(testLog(t)), Transport: trans, Log: testLog(t),
		Stores: Stores{Log: store, Stable: slow, Snapshots: raft.NewInmemSnapshotStore()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Bootstrap([]raft.Server{{ID: "a", Address: "a"}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-slow.held:
	case <-time.After(10 * time.Second):
		t.Fatal("the node does not stand for election")
	}
	future := node.raft.LeadershipTransferToServer("b", "b")
	endsWith(future, node.quit)
	told := make(chan error, 1)
	go func() { told <- future.Error() }()
	ended := make(chan error, 1)
	go func() { ended <- node.Shutdown() }()
	select {
	case err := <-told:
		if err == nil {
			t.Error("the lead was handed over")
		}
	case <-time.After(5 * time.Second):
		t.Error("the transfer is still waited for") // and goleak finds who waits
	}
	close(slow.goOn)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

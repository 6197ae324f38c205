package fsm

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"
)

// at gives the n-th second of the time in which the tests play.
func at(n int) time.Time { return time.Date(2026, 11, 21, 6, 0, n, 0, time.UTC) }

const testID = "000102030405060708090a0b0c0d0e0f"

func testService(name string, lastByte byte) Service {
	return Service{
		Name:      name,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 77, 0, lastByte})},
		MAC:       MAC([]byte{2, 0, 0x5e, 0, 0, lastByte}),
		Ports:     []Port{{Protocol: TCP, Number: 8080}, {Protocol: UDP, Number: 53}},
		Targets:   []string{"c", "b"},
		Hold:      HoldDrop,
	}
}

func testNode(name string, policy Policy) Node {
	return Node{
		Name: name, Key: fmt.Sprintf("%064x", name), Policy: policy, Version: "v0.1",
		Addr:   netip.MustParseAddrPort("10.77.0.11:7374"),
		Gossip: netip.MustParseAddrPort("10.77.0.11:7373"),
		Wake:   []MAC{MAC("\x02\x00\x00\x00\x01\x0b")},
	}
}

// history is the log that the tests start from: nodes a and b always on, c may sleep; service web is a's in epoch 1,
// db is nobody's and was never assigned; a wake of c is under way.
func history() []Command {
	return []Command{
		Found{
			Cluster: Cluster{ID: testID, Name: "home", Created: at(0)}, Failover: time.Second, By: "a",
			Services: []Service{testService("web", 200)},
		},
		PutNode{Node: testNode("a", AlwaysOn), At: at(1)},
		PutNode{Node: testNode("b", AlwaysOn), At: at(2)},
		PutNode{Node: testNode("c", Sleeps), At: at(3)},
		PutService{Service: testService("db", 201), At: at(4), By: "a"},
		Assign{Service: "web", Owner: "a", Reason: FirstOwner, At: at(5), By: "a", Detail: "best front"},
		BeginWake{Wake{ID: "w1", Node: "c", Service: "web", Cause: Demand, Client: "10.77.0.100:4000", Port: "tcp/8080", By: "a", Started: at(6)}},
	}
}

// world applies history.
func world(t testing.TB) *State {
	t.Helper()
	return play(t, nil, 1, history()...)
}

// play applies commands that must all be done, the first at the given index.
func play(t testing.TB, s *State, index uint64, commands ...Command) *State {
	t.Helper()
	for i, c := range commands {
		next, res := Apply(s, index+uint64(i), c)
		if res.Refused != "" {
			t.Fatalf("%T is refused: %s: %s", c, res.Refused, res.Message)
		}
		s = next
	}
	return s
}

func mustEncode(t testing.TB, c Command) []byte {
	t.Helper()
	b, err := Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bytesOf is how tests compare states: equal states have equal bytes.
func bytesOf(t testing.TB, s *State) []byte {
	t.Helper()
	b, err := EncodeState(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sameState(t testing.TB, what string, got, want *State) {
	t.Helper()
	if g, w := bytesOf(t, got), bytesOf(t, want); !bytes.Equal(g, w) {
		t.Fatalf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

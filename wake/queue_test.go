package wake

import (
	"net/netip"
	"testing"
	"time"
)

func demandFrom(port int, at time.Duration) Demand {
	return Demand{Protocol: "tcp", Client: netip.AddrPortFrom(guard4, uint16(port)), Dest: netip.AddrPortFrom(guard4, 80), At: at}
}

func TestFlowQueueKeepsNewestInOrder(t *testing.T) {
	q := newFlowQueue()
	for i, port := range []int{1, 2, 1, 3, 2, 1} {
		q.put(demandFrom(port, time.Duration(i)), segment{})
	}
	udp := demandFrom(1, 9)
	udp.Protocol = "udp" // another flow
	q.put(udp, segment{})
	for _, want := range []struct {
		port uint16
		at   time.Duration
	}{{1, 5}, {2, 4}, {3, 3}, {1, 9}} {
		d, ok := q.take()
		if !ok || d.Client.Port() != want.port || d.At != want.at {
			t.Fatalf("got %v (%v), want %v", d, ok, want)
		}
	}
	if d, ok := q.take(); ok {
		t.Errorf("one more: %v", d)
	}
	if got, want := q.snapshot(), (Stats{Seen: 7, Merged: 3}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestFlowQueueIsBounded(t *testing.T) {
	q := newFlowQueue()
	for port := range flowLimit + 10 {
		q.put(demandFrom(port, 0), segment{})
	}
	q.put(demandFrom(3, 7), segment{}) // a flow that waits is still renewed
	if got, want := q.snapshot(), (Stats{Seen: flowLimit + 11, Merged: 1, Dropped: 10}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	n := 0
	for d, ok := q.take(); ok; d, ok = q.take() {
		if d.Client.Port() == 3 && d.At != 7 {
			t.Error("an old demand was kept")
		}
		n++
	}
	if n != flowLimit {
		t.Errorf("%d flows kept, want %d", n, flowLimit)
	}
}

package scenarios

import (
	"errors"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// The story that everything is there for: the target sleeps, a client connects, the very same attempt completes.
func TestAClientWakesItsTarget(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	for range 2 {
		front := w.sleep("h4")
		if front == "h4" {
			t.Fatal("the sleeper holds its own service")
		}
		if h := w.power()["h4"]; h.Power != lab.PowerAsleep {
			t.Fatalf("h4 is %s although nobody called", h.Power)
		}
		before := time.Now()
		r := w.connect("c1", "h4")
		t.Logf("front %s; connected after %v", front, r.Connected)
		if w.wire.magicBetween(before, time.Now()) == 0 {
			t.Error("no magic packet was seen on the wire")
		}
		w.awaitServing("h4")
	}
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("the client was turned away: %v", all)
	}
	h, err := w.api("h1").History(w.limit(), web)
	w.must(err)
	if n := len(h.Wakes); n != 2 || h.Wakes[1].Cause != "demand" || h.Wakes[1].Node != "h4" {
		t.Errorf("the wakes are %+v, want two of h4 by demand", h.Wakes)
	}
}

// A target that falls asleep again as soon as it is up, without a word (its lid is still closed), is called again: the client's one
// attempt completes when it stays up.
func TestATargetThatFallsAsleepAgainAtOnceIsCalledAgain(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	w.sleep("h4")
	connected := make(chan error, 1)
	go func() {
		r, err := w.lab.Host("c1").Connect(w.limit(), webPort())
		if err == nil && r.Host != "h4" {
			err = errors.New(r.Host + " answered")
		}
		connected <- err
	}()
	h4 := w.lab.Host("h4")
	for range 3 {
		w.must(h4.AwaitPower(w.limit(), lab.PowerUp))
		w.must(h4.Freeze(w.limit()))
		w.must(h4.AwaitPower(w.limit(), lab.PowerAsleep))
	}
	w.must(<-connected)
	w.awaitServing("h4")
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("the client was turned away: %v", all)
	}
}

package wake

import (
	"testing"
	"time"
)

// TestAWakeMayHaveALimitOfItsOwn: a host that is usually up in seconds has failed long before the board's time is over.
func TestAWakeMayHaveALimitOfItsOwn(t *testing.T) {
	b := NewBoard(90*time.Second, 0)
	b.Begin(0, Wake{ID: "1", Node: "quick", Limit: 15 * time.Second})
	b.Begin(0, Wake{ID: "2", Node: "unknown"})
	gaveUp := map[string]time.Duration{}
	for now := time.Duration(0); now < 2*time.Minute; now += 100 * time.Millisecond {
		actions, _ := b.Next(now)
		for _, a := range actions {
			if a.Kind == GiveUp {
				gaveUp[a.Wake.Node] = now
			}
		}
	}
	if gaveUp["quick"] != 15*time.Second || gaveUp["unknown"] != 90*time.Second {
		t.Errorf("given up after %v", gaveUp)
	}
}

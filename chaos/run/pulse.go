package run

import (
	"context"
	"time"

	"nightporter/chaos/history"
)

const (
	beat = 20 * time.Millisecond
	// skipped: a beat that comes so late says that this machine stood still for longer than a host has between two renewals.
	skipped = 150 * time.Millisecond
)

// pulse notes when this machine had no time for the laboratory. Nothing that must hold at every instant is excused by it; what must
// happen within a time is.
func (t *trial) pulse(ctx context.Context) {
	for last := time.Now(); until(ctx, time.Now().Add(beat)); last = time.Now() {
		now := time.Now()
		if late := now.Sub(last) - beat; late > skipped {
			t.journal.Do(func(h *history.History) {
				h.Faults = append(h.Faults, history.Fault{Kind: history.Busy, From: last, Took: now, To: now, Detail: late.Round(time.Millisecond).String()})
			})
		}
	}
}

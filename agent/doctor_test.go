package agent

import (
	"testing"
	"time"
)

// What the way to a host and back may have taken is no fault of its clock.
func TestClockOff(t *testing.T) {
	asked := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	for read, want := range map[time.Duration]time.Duration{-time.Minute: -time.Minute, 0: 0, time.Second: 0, 2 * time.Second: 0, 5 * time.Second: 3 * time.Second} {
		if got := time.Duration(clockOff(asked.Add(read), asked, asked.Add(2*time.Second))); got != want {
			t.Errorf("read %s after the question: %s, want %s", read, got, want)
		}
	}
}

package identity

import (
	"testing"
	"time"
)

// Where frames are lost for seconds, a later announcement still comes soon.
func TestAnnouncementsGrowRarer(t *testing.T) {
	total := time.Duration(0)
	for n, want := range []time.Duration{0, 100 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 45 * time.Second, 45 * time.Second} {
		got := AnnounceSchedule(n)
		if got != want {
			t.Errorf("after %d: %v, want %v", n, got, want)
		}
		total += got
	}
	if total > 2*time.Minute+2*time.Second {
		t.Errorf("nine announcements take %v", total)
	}
}

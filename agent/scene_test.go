package agent

import (
	"testing"
	"time"

	"nightporter/lease"
)

func TestSignsOfLife(t *testing.T) {
	const ttl, learnt = time.Second, lease.Boot(100 * time.Second)
	seen := tenureSeen{epoch: 5, at: learnt}
	tests := []struct {
		name string
		a    asking
		deaf bool
		want bool
	}{
		{"granted under the present epoch", asking{at: learnt, epoch: 5, granted: true}, false, true},
		{"refused under the present epoch: it waits for its predecessor", asking{at: learnt, epoch: 5, granted: false}, false, true},
		{"under a later one: this host is behind", asking{at: learnt, epoch: 6, granted: true}, false, true},
		{"under an earlier one: it may not have heard yet", asking{at: learnt.Add(ttl), epoch: 4, granted: false}, false, true},
		{"still under an earlier one", asking{at: learnt.Add(2 * ttl), epoch: 4, granted: false}, false, false},
		{"not reached by the log, but granted", asking{at: learnt.Add(time.Hour), epoch: 5, granted: true}, true, true},
		{"not reached by the log and refused: it will not hear of the new voters", asking{at: learnt, epoch: 5, granted: false}, true, false},
		{"not reached by the log, under an earlier epoch", asking{at: learnt, epoch: 4, granted: false}, true, false},
	}
	for _, tt := range tests {
		if got := isSign(tt.a, seen, ttl, tt.deaf); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

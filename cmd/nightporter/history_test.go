package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
)

// The clock of the host that decided epoch 42 is two seconds behind: it comes after 41 all the same, and is the last one.
func TestHistoryIsInTheOrderOfTheLog(t *testing.T) {
	h := api.History{
		Changes: []api.Change{{Service: "web", Index: 10, Epoch: 41, At: since.Add(3 * time.Second)}, {Service: "web", Index: 12, Epoch: 42, At: since.Add(time.Second)}},
		Events:  []api.Event{{Index: 9, Kind: "power", Node: "delta", At: since.Add(4 * time.Second)}, {Index: 11, Kind: "voters", At: since.Add(4 * time.Second)}},
		Wakes:   []api.WakeRecord{{ID: "1", Node: "delta", Started: since.Add(2 * time.Second)}, {ID: "2", Node: "delta", Started: since.Add(9 * time.Second)}},
	}
	line := func(h api.History) string {
		var out []string
		for _, d := range timeline(h) {
			switch {
			case d.change != nil:
				out = append(out, number(d.change.Epoch))
			case d.event != nil:
				out = append(out, d.event.Kind)
			default:
				out = append(out, "wake "+d.wake.ID)
			}
		}
		return strings.Join(out, ", ")
	}
	for n, want := range []string{"wake 1, power, 41, voters, 42, wake 2", "wake 2", "42, wake 2", "voters, 42, wake 2", "41, voters, 42, wake 2", "power, 41, voters, 42, wake 2"} {
		if got := line(newest(h, n)); got != want {
			t.Errorf("the last %d are %s, not %s", n, got, want)
		}
	}
	var p page
	drawHistory(&p, h, "")
	var epochs []string
	for _, l := range strings.Split(p.buf.String(), "\n") {
		if f := strings.Fields(l); len(f) > 3 && f[3] == "web:" {
			epochs = append(epochs, f[2])
		}
	}
	if !slices.Equal(epochs, []string{"41", "42"}) {
		t.Errorf("it is drawn as\n%s", p.buf.String())
	}
}

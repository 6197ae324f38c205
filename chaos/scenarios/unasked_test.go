package scenarios

import (
	"fmt"
	"strings"
	"testing"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// A host that wakes without having been called is no wake of ours, and is recorded: when it was, and, when it sleeps again, what it did.
func TestAWakeThatNobodyAskedFor(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	w.sleep("h4")
	w.must(w.lab.Host("h4").PressPower(w.limit()))
	w.awaitServing("h4")
	record := func(good func(api.WakeRecord) bool) {
		w.Helper()
		w.await("the wake is recorded", func() string {
			h, err := w.api("h1").History(w.limit(), web)
			if err != nil {
				return err.Error()
			}
			if n := len(h.Wakes); n != 1 || h.Wakes[0].Cause != "woke-unasked" || h.Wakes[0].Node != "h4" || h.Wakes[0].By != "h4" || !good(h.Wakes[0]) {
				return fmt.Sprintf("the wakes are %+v", h.Wakes)
			}
			return ""
		})
	}
	record(func(r api.WakeRecord) bool { return r.Result == "woke-up" && r.Note == "" }) // a lab has no kernel of its own that would tell by what
	w.sleep("h4")
	record(func(r api.WakeRecord) bool {
		return strings.HasPrefix(r.Note, "up for ") && strings.HasSuffix(r.Note, "s") // nobody looks for use here
	})
	w.connect("c1", "h4") // and it can be called as ever
}

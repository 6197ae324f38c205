package scenarios

import (
	"testing"

	"nightporter/chaos/lab"
)

// A client may run on a member: on the front itself, whose packets to the service never reach the wire, and on a host
// that holds nothing.
func TestAClientOnAMemberWakesTheTarget(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	for round := range 2 {
		front := w.sleep("h4")
		for _, from := range []string{front, without(w.hosts, "h4", front)[round]} {
			r := w.connect(from, "h4")
			t.Logf("from %s while %s was the front: connected after %v", from, front, r.Connected)
			w.awaitServing("h4")
			front = w.sleep("h4")
		}
		w.connect("c1", "h4")
		w.awaitServing("h4")
		// The target's own clients need nobody.
		if r := w.connect("h4", "h4"); r.Connected > patience/2 {
			t.Errorf("on the target itself it took %v", r.Connected)
		}
	}
}

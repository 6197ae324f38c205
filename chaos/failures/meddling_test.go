package failures

import (
	"fmt"
	"slices"
	"time"

	"nightporter/chaos/lab"
)

// meddling changes under the holder what it built in the kernel: it notices, says so, and repairs.
func (w *world) meddling() {
	w.Helper()
	for _, c := range []struct {
		deed []string
		says string
	}{
		{[]string{"flush"}, "fence removed"},
		{[]string{"remove", "macvlan"}, "address " + lab.ServiceAddr().String() + " removed"},
		{[]string{"down", "macvlan"}, "link down"},
		{[]string{"delete", "macvlan"}, "is gone"},
	} {
		holder, epoch := w.whole(all)
		w.served("")
		from := w.length(holder)
		w.tool(holder, c.deed...)
		w.says(holder, from, "changed by somebody else; repairing it", c.says)
		now, after := w.whole(all)
		w.served("")
		w.Logf("%v at %s under epoch %d: %s under %d", c.deed, holder, epoch, now, after)
	}
}

// stranger gives the service's address to a machine outside the cluster: nobody opens while it has it.
func (w *world) stranger() {
	w.Helper()
	c2 := w.lab.Client(2)
	victim, epoch := w.whole(all)
	w.stop(victim)
	silent := time.Now().Add(ttl)
	w.tool("c2", "add", "eth0")
	sentence := []string{lab.ServiceAddr().String() + " is in use by " + c2.MAC().String(), "a host outside the cluster", "find that host and free the address"}
	rest := others(all, victim)
	w.await("a host finds the stranger", func() string {
		var seen []string
		for _, h := range rest {
			st, err := w.ask(h)
			if err != nil {
				return err.Error()
			}
			if s := st.Services[0]; s.Owner == h && s.Epoch > epoch && slices.ContainsFunc(st.Problems, func(p string) bool { return hasAll(p, sentence) }) {
				return ""
			}
			seen = append(seen, st.Problems...)
		}
		return fmt.Sprintf("the problems are %q", seen)
	})
	for _, h := range all {
		if last := w.wire.lastOf(h); last.At.After(silent) {
			w.Errorf("%s used the identity while a stranger has it: %x", h, last.Frame)
		}
	}
	w.tool("c2", "remove", "eth0")
	w.start(victim)
	holder, _ := w.whole(all)
	w.served("")
	w.says(holder, 0, "the foreign holder is gone")
}

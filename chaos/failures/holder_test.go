package failures

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ttl is the longest time that a holder may go on without its daemon: two thirds of the failover of one second.
const ttl = 667 * time.Millisecond

var all = []string{"h1", "h2", "h3"}

// small puts each host's state on a small file system of its own.
func small(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s mount {dir}/data || exit 1", self, toolWord)
}

// Whatever happens to the daemon of the holder, its kernel falls silent in time, another host serves, and the daemon does
// not go on with what it had.
func TestTheHolderInTrouble(t *testing.T) {
	w := found(t, 3, small(t))
	victim, epoch := w.whole(all)
	w.served("")
	w.stop(victim)
	w.replaced(victim, epoch, all, time.Now().Add(ttl))
	from := w.start(victim)
	w.says(victim, from, "removing what a former agent left", "np-")
	victim, epoch = w.whole(all)

	w.served("")
	from = w.length(victim)
	w.must(w.lab.Host(victim).Signal(w.limit(), syscall.SIGSTOP))
	_, next := w.replaced(victim, epoch, all, time.Now().Add(ttl))
	before := w.wire.lastOf(victim).At
	w.must(w.lab.Host(victim).Signal(w.limit(), syscall.SIGCONT))
	w.says(victim, from, "the lease ran out: the fence is closed|this host was away: everything is closed")
	holder, last := w.whole(all)
	if last < next || (holder == victim && last == next) {
		t.Errorf("%s was given the service under epoch %d; now %s holds under %d", victim, next, holder, last)
	}
	if after := w.wire.lastOf(victim); holder != victim && after.At.After(before) {
		t.Errorf("%s went on with what it had before it was stopped: %x", victim, after.Frame)
	}
	w.network()
	w.firewall()
	w.meddling()
	w.required()
	w.stranger()
	w.disk()
	w.purge()
}

// purge takes off a host what its killed agent left, and puts back what that had set.
func (w *world) purge() {
	w.Helper()
	victim, epoch := w.whole(all)
	w.stop(victim)
	w.replaced(victim, epoch, all, time.Now().Add(ttl))
	left, err := w.tried(victim, "traces")
	if err != nil || !strings.Contains(left, "link np") || !strings.Contains(left, "arp_ignore 1\narp_announce 2\n") {
		w.Errorf("a killed agent leaves %q, %v", left, err)
	}
	w.inHost(victim, "nightporter", "purge", "--config", w.lab.Host(victim).Dir()+"/own.yaml", "--node", victim)
	if left, err = w.tried(victim, "traces"); err != nil || left != "arp_ignore 0\narp_announce 0\n" {
		w.Errorf("purge leaves %q, %v", left, err)
	}
}

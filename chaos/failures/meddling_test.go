package failures

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"nightporter/chaos/lab"
)

// meddling changes under the holder what it built in the kernel: it notices, says so, and repairs.
func (w *world) meddling() {
	w.Helper()
	type meddle struct {
		deed []string
		says string
	}
	fence := []meddle{{[]string{"flush"}, "fence removed"}}
	if w.fence() == "bpf" {
		fence = []meddle{
			{[]string{"flush"}, "guard removed"},
			{[]string{"unfilter", "macvlan"}, "fence removed"},
			{[]string{"unfilter", "eth0"}, "fence removed"},
			{[]string{"unqdisc", "macvlan"}, "fence removed"},
			{[]string{"unqdisc", "eth0"}, "fence removed"},
		}
	}
	for _, c := range append(fence, []meddle{
		{[]string{"remove", "macvlan"}, "address " + lab.ServiceAddr().String() + " removed"},
		{[]string{"down", "macvlan"}, "link down"},
		{[]string{"delete", "macvlan"}, "is gone"},
	}...) {
		holder, epoch := w.whole(all)
		w.served("")
		from := w.length(holder)
		w.tool(holder, c.deed...)
		done := time.Now()
		w.says(holder, from, "changed by somebody else; repairing it", c.says)
		if took := time.Since(done); took > notice {
			w.Errorf("%v at %s was noticed after %v", c.deed, holder, took)
		}
		now, after := w.whole(all)
		w.served("")
		w.Logf("%v at %s under epoch %d: %s under %d", c.deed, holder, epoch, now, after)
	}
}

// notice is far below the time between two regular checks (30 s): what is found out sooner was notified.
const notice = 10 * time.Second

// fence is the kind that is in force at the holder: as root the exact one, in a plain user's namespaces that of nftables. Status
// says so, and what it does not cover.
func (w *world) fence() string {
	w.Helper()
	want := "nftables"
	if os.Getuid() == 0 {
		want = "bpf"
	}
	holder, _ := w.whole(all)
	st, err := w.ask(holder)
	w.must(err)
	f := st.Services[0].Fence
	if f.Kind != want || len(f.Limits) == 0 {
		w.Errorf("the fence in force at %s is %q with the limits %q, want %q", holder, f.Kind, f.Limits, want)
	}
	if text := w.inHost(holder, "nightporter", "status", "--details"); !strings.Contains(text, f.Limits[0]) {
		w.Errorf("status does not say what the fence lacks: %s", text)
	}
	return f.Kind
}

// required gives a host a configuration that wants the exact fence, and takes away what it takes to have that: the host says that
// it is unfit and why, another one holds, and nothing can be moved there.
func (w *world) required() {
	w.Helper()
	victim, epoch := w.whole(all)
	w.stop(victim)
	w.put(victim, "edit", "1i\\\nfence: required\n")
	if os.Getuid() == 0 {
		w.put(victim, "before", "program='"+strings.Join(w.toolWords("powerless", "no-bpf", "nightporter"), " ")+"'\n")
	}
	from := w.start(victim)
	sentence := "the exact fence is required (fence: required), and this host cannot have it"
	w.says(victim, from, "this host holds nothing until that is repaired", sentence)
	heir, _ := w.replaced(victim, epoch, all, time.Now().Add(ttl))
	w.await("the others know that it is unfit", func() string {
		st, err := w.ask(heir)
		if err != nil {
			return err.Error()
		}
		for _, n := range st.Nodes {
			if n.Name == victim && !n.Fit {
				return ""
			}
		}
		return fmt.Sprintf("%+v", st.Nodes)
	})
	st, err := w.ask(victim)
	w.must(err)
	if !strings.Contains(strings.Join(st.Problems, "\n"), sentence) {
		w.Errorf("status of %s does not say why it is unfit: %q", victim, st.Problems)
	}
	w.whole(all, victim)
	w.complains(heir, []string{"nightporter", "move", web, victim}, refused, "the exact fence is required")
	w.stop(victim)
	w.put(victim, "edit", "")
	if os.Getuid() == 0 {
		w.put(victim, "before", "")
	}
	w.start(victim)
	w.whole(all)
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

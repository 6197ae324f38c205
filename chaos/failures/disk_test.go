package failures

import (
	"path/filepath"
	"slices"
	"time"

	"nightporter/api"
)

// takeover bounds how long a holder with a full disk may stay it: the others learn of it by gossip, the leader decides, the
// lease runs out. That takes about two seconds; this leaves room for a machine that does other things.
const takeover = 6 * time.Second

// disk fills the holder's disk under it, and takes away the right to write while its agent is down. The same is done to the
// leader, who has to write first.
func (w *world) disk() {
	w.Helper()
	victim, epoch := w.whole(all)
	w.full(victim, func(from int) {
		complained := time.Now()
		w.says(victim, from, "this host holds nothing until that is repaired", "the cluster's log cannot be written", "no space left on device", "free some space")
		w.replaced(victim, epoch, all, complained.Add(takeover))
		if took := time.Since(complained); took > takeover {
			w.Errorf("%s was replaced %v after it complained of its disk; the bound is %v", victim, took, takeover)
		}
	})
	leader := w.leader()
	w.full(leader, func(int) {
		w.await("another host leads", func() string {
			if st, err := w.ask(others(all, leader)[0]); err != nil || st.Leader == "" || st.Leader == leader {
				return "leader " + st.Leader
			}
			return ""
		})
	})

	victim, epoch = w.whole(all)
	data := filepath.Join(w.lab.Host(victim).Dir(), "data")
	w.stop(victim)
	silent := time.Now().Add(ttl)
	w.tool(victim, "remount", data, "ro")
	w.refusesToStart(victim, data, "read-only")
	w.tool(victim, "remount", data, "rw")
	w.tool(victim, "fill", filepath.Join(data, "big"))
	w.refusesToStart(victim, data, "no space left on device", "disk full")
	w.replaced(victim, epoch, all, silent)
	w.inHost(victim, "rm", filepath.Join(data, "big"))
	w.start(victim)
	w.whole(all)
	w.served("")
}

func (w *world) leader() (name string) {
	w.Helper()
	w.await("a leader", func() string {
		st, err := w.ask(all[0])
		if name = st.Leader; err != nil || name == "" {
			return "none"
		}
		return ""
	})
	return name
}

// full fills a host's disk, lets the cluster write until the host needs a page that it cannot get, looks what comes of it,
// and makes room again.
func (w *world) full(host string, look func(from int)) {
	w.Helper()
	big := filepath.Join(w.lab.Host(host).Dir(), "data", "big")
	from := w.length(host)
	w.tool(host, "fill", big)
	w.await(host+" complains of its disk", func() string {
		for _, h := range all {
			w.write(h)
		}
		st, err := w.ask(host)
		if err != nil || !slices.ContainsFunc(st.Problems, func(p string) bool { return hasAll(p, []string{"no space left on device"}) }) {
			return "it does not need any yet"
		}
		return ""
	})
	look(from)
	w.inHost(host, "rm", big)
	w.says(host, from, "this host can hold services again")
	w.whole(all)
	w.served("")
}

// write changes something in the log, so that every disk has something to write. The cluster may have other worries.
func (w *world) write(host string) {
	w.Helper()
	c := w.lab.Host(host).API()
	for _, f := range []time.Duration{time.Second + time.Millisecond, time.Second} {
		if err := c.Set(w.limit(), api.Settings{Failover: api.Duration(f)}); err != nil {
			return
		}
	}
}

package scenarios

import (
	"syscall"
	"testing"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// A holder whose daemon is stopped, or that is cut off, cannot hear that another one takes over. Its kernel makes it
// fall silent in time (I3), and when it goes on it begins nothing by itself. The wire, which sees what a host sends before
// any cut drops it, is the judge.
func TestAHolderThatHearsNothingFallsSilent(t *testing.T) {
	w := pair(t)
	w.settled(nil, 3)
	p := w.probe("c1", webPort())
	for _, trouble := range []struct {
		name       string
		begin, end func(victim string) error
	}{
		{
			"stopped",
			func(v string) error { return w.lab.Host(v).Signal(w.limit(), syscall.SIGSTOP) },
			func(v string) error { return w.lab.Host(v).Signal(w.limit(), syscall.SIGCONT) },
		},
		{
			"cut off",
			func(v string) error { return w.lab.Cut(w.limit(), lab.Cut{From: v}) },
			func(v string) error { return w.lab.Heal(w.limit(), v) },
		},
		{
			"unplugged",
			func(v string) error { return w.lab.Cut(w.limit(), lab.Cut{From: v, Cable: true}) },
			func(v string) error { return w.lab.Heal(w.limit(), v) },
		},
		{
			"cut off from the other hosts, not from the client",
			func(v string) error { return w.cutFromHosts(v) },
			func(v string) error { return w.lab.Heal(w.limit(), v) },
		},
	} {
		victim, before := w.awaitHolder(web, "serving")
		w.awaitAnswer(p)
		w.must(trouble.begin(victim))
		w.await("another host serves", func() string {
			heir := without([]string{"h1", "h2"}, victim)[0]
			st, err := w.ask(heir)
			if err != nil {
				return err.Error()
			}
			s, _ := service(st, web)
			if s.Owner != heir || s.Role != "serving" || s.Epoch <= before.Epoch {
				return summary(map[string]api.Status{heir: st}, web)
			}
			return ""
		})
		w.awaitAnswer(p)
		w.must(trouble.end(victim))
		w.settled(nil, 3)
		holder, after := w.awaitHolder(web, "serving")
		t.Logf("%s %s: %s under epoch %d; longest gap so far %v", victim, trouble.name, holder, after.Epoch, p.longest())
	}
	p.end()
}

// cutFromHosts breaks the paths to all other hosts; clients still reach the victim.
func (w *world) cutFromHosts(victim string) error {
	for _, h := range without(w.hosts, victim) {
		if err := w.lab.Cut(w.limit(), lab.Cut{From: victim, To: h}); err != nil {
			return err
		}
	}
	return nil
}

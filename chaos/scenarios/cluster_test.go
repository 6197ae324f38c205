package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// running lists the hosts that answer now, with what they say.
func (w *world) running() map[string]api.Status {
	w.Helper()
	out := map[string]api.Status{}
	for _, h := range w.power() {
		if h.Power != lab.PowerUp || h.Agent != "running" {
			continue
		}
		if st, err := w.ask(h.Name); err == nil {
			out[h.Name] = st
		}
	}
	return out
}

// power tells what the lab itself knows of its hosts, by name.
func (w *world) power() map[string]lab.HostStatus {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := w.lab.Status(ctx)
	w.must(err)
	out := map[string]lab.HostStatus{}
	for _, h := range st.Hosts {
		out[h.Name] = h
	}
	return out
}

// holder gives the one host whose kernel lets the identity through, with its status, or what is not so. Two at once are
// asked one after the other, so this does not prove I1; the wire does.
func (w *world) holder(name string) (host string, s api.ServiceStatus, missing string) {
	all := w.running()
	var open []string
	for h, st := range all {
		if sv, ok := service(st, name); ok && sv.Fence.State == "open" {
			open = append(open, h)
			host, s = h, sv
		}
	}
	switch {
	case len(open) != 1:
		slices.Sort(open)
		return "", s, fmt.Sprintf("%d hosts hold %s: %v; %s", len(open), name, open, summary(all, name))
	case s.Owner != host:
		return "", s, fmt.Sprintf("%s holds %s, and the log says %s", host, name, s.Owner)
	}
	return host, s, ""
}

func summary(all map[string]api.Status, name string) string {
	var words []string
	for h, st := range all {
		sv, _ := service(st, name)
		words = append(words, fmt.Sprintf("%s says: leader %q, owner %q (%s) under epoch %d, here %s/%s, problems %q",
			h, st.Leader, sv.Owner, sv.OwnerState, sv.Epoch, sv.Lease.State, sv.Fence.State, st.Problems))
	}
	slices.Sort(words)
	return strings.Join(words, "; ")
}

// awaitHolder waits for the one holder of a service in the given role ("serving", "holding", or "" for either).
func (w *world) awaitHolder(name, role string) (host string, s api.ServiceStatus) {
	w.Helper()
	w.await(fmt.Sprintf("one holder of %s, role %q", name, role), func() (missing string) {
		host, s, missing = w.holder(name)
		if missing == "" && role != "" && s.Role != role {
			missing = fmt.Sprintf("%s is %s", host, s.Role)
		}
		return missing
	})
	return host, s
}

// awaitServing waits until the given host serves "web".
func (w *world) awaitServing(host string) api.ServiceStatus {
	w.Helper()
	var s api.ServiceStatus
	w.await(host+" serves", func() (missing string) {
		var at string
		at, s, missing = w.holder(web)
		if missing == "" && (at != host || s.Role != "serving") {
			missing = fmt.Sprintf("%s is %s", at, s.Role)
		}
		return missing
	})
	return s
}

// settled waits until the cluster is founded, all the given hosts (nil: all) are members, in touch and awake, the voters
// are as many as want (0: any), every host knows the leader, and web has its holder, whom the wire follows from here on.
func (w *world) settled(hosts []string, want int) (holder string, s api.ServiceStatus) {
	w.Helper()
	if hosts == nil {
		hosts = w.hosts
	}
	w.await("all hosts are in one cluster", func() string {
		all := w.running()
		for _, h := range hosts {
			if missing := whole(all[h], hosts, want); missing != "" {
				return h + ": " + missing
			}
		}
		return ""
	})
	holder, s = w.awaitHolder(web, "")
	if len(w.wire.services) == 0 {
		w.wire.follow(s.Service)
	}
	return holder, s
}

func whole(st api.Status, hosts []string, voters int) string {
	if st.Leader == "" {
		return "no leader"
	}
	for _, name := range hosts {
		n, known := node(st, name)
		if !known || !n.Alive || n.Power != "awake" || n.Addr.Port() == 0 {
			return fmt.Sprintf("%s is %+v", name, n)
		}
	}
	if voters != 0 && len(st.Quorum.Voters) != voters {
		return fmt.Sprintf("the voters are %v", st.Quorum.Voters)
	}
	return ""
}

// leader gives the leader that the given hosts agree on.
func (w *world) leader(among []string) (leader, missing string) {
	for _, h := range among {
		st, err := w.ask(h)
		switch {
		case err != nil:
			return "", h + ": " + err.Error()
		case st.Leader == "":
			return "", h + " knows no leader"
		case leader != "" && st.Leader != leader:
			return "", fmt.Sprintf("%s says that %s leads, others say %s", h, st.Leader, leader)
		}
		leader = st.Leader
	}
	return leader, ""
}

// sleep puts a host to sleep as a person does, and waits until it really sleeps and a front holds web.
func (w *world) sleep(host string) (front string) {
	w.Helper()
	var asker string
	for _, h := range w.hosts {
		if h != host {
			asker = h
			break
		}
	}
	_, err := w.api(asker).Sleep(w.limit(), host)
	w.must(err)
	w.must(w.lab.Host(host).AwaitPower(w.limit(), lab.PowerAsleep))
	front, _ = w.awaitHolder(web, "holding")
	return front
}

// connect connects from a place of the lab to web and wants an answer from the given host.
func (w *world) connect(from, want string) lab.Reply {
	w.Helper()
	r, err := w.lab.Host(from).Connect(w.limit(), webPort())
	if err != nil {
		w.Fatalf("from %s: %v", from, err)
	}
	if r.Host != want {
		w.Fatalf("from %s: %s answered, want %s", from, r.Host, want)
	}
	return r
}

// without gives the list without some names.
func without(list []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(names, s) })
}

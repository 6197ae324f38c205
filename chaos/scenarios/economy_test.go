package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/config"
)

// wakes asks a host for the ledger.
func (w *world) wakes(host, name string) api.Wakes {
	w.Helper()
	a, err := w.api(host).Wakes(w.limit(), api.WakesQuery{Name: name})
	w.must(err)
	return a
}

// newest is the newest wake of a host, and what is wrong with it.
func newest(a api.Wakes, host string) (k api.WakeRecord) {
	for _, one := range a.Wakes {
		if one.Node == host {
			k = one
		}
	}
	return k
}

// ignored waits until the attempts of a client to wake somebody for web are counted, for a reason.
func (w *world) ignored(client, why string, least uint64) {
	w.Helper()
	w.await(client+" wakes nobody: "+why, func() string {
		a := w.wakes("h2", web)
		for _, r := range a.Refused {
			if r.Source == w.lab.Host(client).Addr().String() && r.Why == why && r.Count >= least && r.Service == web && r.Port == "tcp/8080" {
				return ""
			}
		}
		return fmt.Sprintf("%+v", a.Refused)
	})
}

// judged waits for the verdict about the newest wake of a host.
func (w *world) judged(host, client, verdict string) (k api.WakeRecord) {
	w.Helper()
	w.await("the wake of "+host+" is judged", func() string {
		k = newest(w.wakes("h1", host), host)
		if k.Verdict != verdict || !strings.HasPrefix(k.Client, w.lab.Host(client).Addr().String()+":") {
			return fmt.Sprintf("%+v", k)
		}
		return ""
	})
	return k
}

// A denied source and one that has used up its budget wake nobody, a client does; the ledger says what each wake was good for; hosts start
// one after the other; and the hours asleep are summed up.
func TestTheWakeEconomy(t *testing.T) {
	const budget = 1
	scanner, denied := "c3", "c2"
	port := config.Port{Protocol: "tcp", Number: lab.ServerPort}
	of := func(name, addr, target string) config.Service {
		return config.Service{Name: name, Addresses: []netip.Addr{netip.MustParseAddr(addr)}, Ports: []config.Port{port}, Targets: []string{target}, Hold: config.HoldDrop}
	}
	first := of(web, lab.ServiceAddr().String(), "h4")
	first.Wake = config.WakeRules{Deny: []netip.Prefix{netip.MustParsePrefix("10.77.0.102/32")}, Budget: budget}
	w := build(t, lab.Options{
		Hosts: 6, Clients: 3, Sleepers: []int{4, 5, 6}, ResumeTime: time.Second, Lines: []string{"watts: {awake: 60, asleep: 2}"},
		Services: []config.Service{first, of("db", "10.77.0.201", "h5"), of("mail", "10.77.0.202", "h6")},
	})
	if got := w.lab.Host(denied).Addr().String(); got != "10.77.0.102" {
		t.Fatalf("%s is at %s, which the definition does not deny", denied, got)
	}
	w.settled(nil, 3)
	_, err := w.lab.Host("h1").Output(w.limit(), "nightporter", "set", "wake-inrush", "1")
	w.must(err)
	for _, h := range []string{"h4", "h5", "h6"} {
		w.sleep(h)
	}

	_, sv := w.awaitHolder(web, "holding")
	syn := func(x *layers.TCP) { x.SYN = true }
	before := time.Now()
	for range 3 {
		w.raw(w.lab.Host(denied), sv.Service).tcp(lab.ServerPort, syn)
	}
	w.ignored(denied, "denied", 3)
	if n := w.wire.magicBetween(before, time.Now()); n != 0 || w.power()["h4"].Power != lab.PowerAsleep {
		t.Errorf("a denied source makes %d magic packets, and h4 %s", n, w.power()["h4"].Power)
	}

	// Nobody knows yet that this one says nothing. From here on it has nothing left.
	knocks := w.raw(w.lab.Host(scanner), sv.Service)
	knocks.tcp(lab.ServerPort, syn)
	w.awaitServing("h4")
	w.oneAfterTheOther()
	w.judged("h4", scanner, "spurious")
	w.sleep("h4")
	before = time.Now()
	knocks.tcp(lab.ServerPort, syn)
	w.ignored(scanner, "over-budget", 1)
	if n := w.wire.magicBetween(before, time.Now()); n != 0 || w.power()["h4"].Power != lab.PowerAsleep {
		t.Errorf("a source over its budget makes %d magic packets, and h4 %s", n, w.power()["h4"].Power)
	}
	w.await("status tells of the source", func() string {
		st, err := w.ask(newestFront(w))
		if err != nil || !strings.Contains(strings.Join(st.Problems, "\n"), "1 source used up the budget") {
			return fmt.Sprint(st.Problems, err)
		}
		return ""
	})
	w.connect("c1", "h4")
	if k := w.judged("h4", "c1", "useful"); k.Result != "woke-up" || k.Port != "tcp/8080" || k.Service != web {
		t.Errorf("the wake is told as %+v", k)
	}
	w.told()
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}

// newestFront is who swallowed the last attempt: it counted it.
func newestFront(w *world) string {
	all := w.wakes("h1", web).Refused
	return all[len(all)-1].By
}

// oneAfterTheOther has clients want two hosts at one time, of which one may start.
func (w *world) oneAfterTheOther() {
	w.Helper()
	ended := make(chan error, 2)
	visit := func(addr string) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := w.lab.Client(1).Connect(ctx, netip.AddrPortFrom(netip.MustParseAddr(addr), lab.ServerPort))
		ended <- err
	}
	go visit("10.77.0.201")
	w.await("h5 is called", func() string {
		if k := newest(w.wakes("h1", "h5"), "h5"); k.Node == "" {
			return "it is not"
		}
		return ""
	})
	go visit("10.77.0.202")
	w.await("h6 waits for its turn", func() string {
		a := w.wakes("h1", "mail")
		if len(a.Waiting) != 1 || a.Waiting[0].Node != "h6" {
			return fmt.Sprintf("%+v", a)
		}
		return ""
	})
	w.must(<-ended)
	w.must(<-ended)
	five, six := w.judged("h5", "c1", "useful"), w.judged("h6", "c1", "useful")
	if five.Ended.IsZero() || six.Started.Before(five.Ended.Add(-50*time.Millisecond)) { // the two are stamped by two hosts
		w.Errorf("h6 was called at %s, and h5 was on its way up until %s", six.Started, five.Ended)
	}
}

// told looks at what people are shown.
func (w *world) told() {
	w.Helper()
	text, err := w.lab.Host("h3").Output(w.limit(), "nightporter", "wakes", "--last", "20")
	w.must(err)
	for _, want := range []string{"spurious", "useful", "these woke nobody", "over-budget", "denied", "10.77.0.102"} {
		if !strings.Contains(text, want) {
			w.Errorf("`nightporter wakes` does not say %q:\n%s", want, text)
		}
	}
	r, err := w.api("h3").Report(w.limit(), api.ReportQuery{Since: api.Duration(7 * 24 * time.Hour)})
	w.must(err)
	for _, n := range r.Nodes {
		sleeps := n.Policy == "sleeps"
		asleep := time.Duration(n.Asleep)
		if sleeps != (asleep > 0) || !n.Configured || n.SavedWh < asleep.Hours()*57.9 || n.SavedWh > asleep.Hours()*58.1 {
			w.Errorf("reported of %s: %+v", n.Node, n)
		}
		if n.Node == "h4" && (len(n.Wakes) != 2 || n.Wakes[0].Verdict != "spurious" || n.Wakes[1].Verdict != "useful" || n.Wakes[1].Count != 1) {
			w.Errorf("of h4 these wakes are counted: %+v", n.Wakes)
		}
	}
	if text, err = w.lab.Host("h3").Output(w.limit(), "nightporter", "report"); err != nil || !strings.Contains(text, "saved in all: ") || !strings.Contains(text, "by the hosts' own clocks") {
		w.Errorf("`nightporter report` says (%v):\n%s", err, text)
	}
}

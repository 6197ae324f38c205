package scenarios

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// doctor has all hosts examined, as an operator does. It is asked at h1.
func (w *world) doctor(want int, flags ...string) api.DoctorReport {
	w.Helper()
	r := w.run(w.limit(), "h1", "", append([]string{program, "doctor", "--peers", "-o", "json"}, flags...)...)
	var report api.DoctorReport
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		w.Fatalf("%v in %q, %q", err, r.out, r.err)
	}
	if r.code != want {
		w.Errorf("doctor ends with %d, want %d: %s", r.code, want, r.out)
	}
	return report
}

// finds says whether a finding with a word is among some.
func finds(all []api.Finding, name, word string) bool {
	return slices.ContainsFunc(all, func(f api.Finding) bool { return f.Name == name && strings.Contains(f.What, word) })
}

// inLab are findings about the machine that all hosts of a lab are on, which a lab cannot help.
var inLab = []string{"clock-unsynchronized", "wol-unsupported", "no-sleep-states", "cannot-sleep", "virtual-switch", "not-looked-at", "firewall-drops", "networkd", "networkmanager", "config-note", "agent-problem", "kernel-fence-limit", "rp-filter"}

// troubled are the findings of a node that are about the lab's own network.
func troubled(n api.DoctorNode) []api.Finding {
	return slices.DeleteFunc(slices.Clone(n.Findings), func(f api.Finding) bool { return f.Level == api.Fine || slices.Contains(inLab, f.Name) })
}

// The doctor finds nothing in a sound cluster, and disturbs nothing; then each thing that was broken, from the hosts that it shows at.
func TestDoctor(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3})
	w.settled(nil, 3)
	w.sound()
	w.alone()
	w.byADetour()
	w.oneMACOnly()
	w.portSecurity(w.sleep("h3"))
	w.wokenForIt()
	w.broken()
}

func (w *world) sound() {
	w.Helper()
	began, epoch := time.Now(), w.epoch()
	r := w.doctor(0)
	if took := time.Since(began); took > 10*time.Second {
		w.Errorf("it took %s", took)
	}
	for _, n := range r.Nodes {
		if n.State != "examined" || len(n.Reached) != 6 || len(troubled(n)) > 0 {
			w.Errorf("%s is %s, has reached %+v and found %+v", n.Node, n.State, n.Reached, troubled(n))
		}
		for _, p := range n.Reached {
			if p.Result != "ok" {
				w.Errorf("from %s: %+v", n.Node, p)
			}
		}
	}
	for _, f := range r.Together {
		if f.Level != api.Fine && f.Name != "second-mac-untried" {
			w.Errorf("together: %+v", f)
		}
	}
	if !finds(r.Together, "second-mac-untried", "at h1 and h2") { // h3, the target, holds the service
		w.Errorf("what was not tried is not told: %+v", r.Together)
	}
	if now := w.epoch(); now != epoch {
		w.Errorf("the examination had the service change its owner: epoch %d, and %d before", now, epoch)
	}
}

func (w *world) epoch() uint64 {
	w.Helper()
	st, err := w.ask("h1")
	w.must(err)
	return st.Services[0].Epoch
}

// byADetour has the firewall of h2 refuse what h1 begins at the peers' port: h3 asks h2 in its place.
func (w *world) byADetour() {
	w.Helper()
	w.nft("h2", "add table inet fw", "add chain inet fw in { type filter hook input priority 0; policy accept; }",
		fmt.Sprintf("add rule inet fw in ip saddr %s tcp dport 7374 tcp flags & (syn | ack) == syn reject with tcp reset", w.lab.Host("h1").Addr()))
	r := w.doctor(0)
	if n := r.Nodes[1]; n.Node != "h2" || n.State != "examined" || n.Via != "h3" {
		w.Errorf("h2 is %s by way of %q: %s", n.State, n.Via, n.Detail)
	}
	if !finds(r.Nodes[0].Findings, "port-refused", "h2") {
		w.Errorf("h1 found %+v", troubled(r.Nodes[0]))
	}
	w.nft("h2", "delete table inet fw")
}

func (w *world) wokenForIt() {
	w.Helper()
	if n := w.doctor(0, "--wake").Nodes[2]; n.Node != "h3" || n.State != "examined" {
		w.Errorf("with --wake h3 is %s: %s", n.State, n.Detail)
	}
}

// alone has one host examine itself while its agent runs.
func (w *world) alone() {
	w.Helper()
	r := w.run(w.limit(), "h2", "", program, "doctor", "--config", filepath.Join(w.lab.Dir(), "nightporter.yaml"), "--node", "h2", "-o", "json")
	var report api.DoctorReport
	w.must(json.Unmarshal([]byte(r.out), &report))
	n := report.Nodes[0]
	if r.code != 0 || n.Node != "h2" || len(n.Reached) != 6 || len(troubled(n)) > 0 || finds(n.Findings, "daemon-down", "") {
		w.Errorf("alone h2 ends with %d: %+v", r.code, n)
	}
}

// nft changes the packet filter of a place.
func (w *world) nft(place string, lines ...string) {
	w.Helper()
	if r := w.run(w.limit(), place, "", "nft", strings.Join(lines, "; ")); r.code != 0 {
		w.Fatalf("nft in %s: %s", place, r.err)
	}
}

// broken breaks several things at one time: a firewall on h2 drops what h1 says by gossip's port and the peers' port, a stranger has the service's address, the
// clock of h2 is an hour before the others'.
func (w *world) broken() {
	w.Helper()
	h1 := w.lab.Host("h1").Addr()
	w.nft("h2", "add table inet fw", "add chain inet fw in { type filter hook input priority 0; policy accept; }",
		fmt.Sprintf("add rule inet fw in ip saddr %s udp dport 7373 drop", h1), fmt.Sprintf("add rule inet fw in ip saddr %s tcp dport 7373 tcp flags syn drop", h1))
	w.must(w.lab.Claim(w.limit(), "c1", lab.Claim{Addr: lab.ServiceAddr(), MAC: net.HardwareAddr{2, 0xbb, 0, 0, 0, 1}}))
	w.must(w.lab.Clock(w.limit(), "h2", lab.ClockShift{Wall: time.Hour}))
	r := w.doctor(1)
	for name, word := range map[string]string{"blocked-one-way": "h1 does not reach 7373/udp of h2, and h2 does reach that of h1", "clock-skew": "of h2 is at least 59m5"} {
		if !finds(r.Together, name, word) {
			w.Errorf("no %s with %q in %+v", name, word, r.Together)
		}
	}
	if !finds(r.Together, "blocked-one-way", "7373/tcp of h2") {
		w.Errorf("TCP is not found: %+v", r.Together)
	}
	for _, n := range r.Nodes[:2] {
		if !finds(n.Findings, "address-conflict", "02:bb:00:00:00:01") {
			w.Errorf("%s does not find the stranger: %+v", n.Node, troubled(n))
		}
	}
	if !finds(r.Nodes[0].Findings, "port-blocked", "7373/udp") || finds(r.Nodes[1].Findings, "port-blocked", "") {
		w.Errorf("blocked are %+v and %+v", troubled(r.Nodes[0]), troubled(r.Nodes[1]))
	}
	w.nft("h2", "delete table inet fw")
}

// oneMACOnly has the switch let one MAC pass at the port of h2, which holds nothing: it shows by test frames. The others' arrive.
func (w *world) oneMACOnly() {
	w.Helper()
	epoch := w.epoch()
	w.nft("switch", "add table netdev one", "add chain netdev one in { type filter hook ingress device h2 priority 0; }",
		fmt.Sprintf("add rule netdev one in ether saddr != %s drop", w.lab.Host("h2").MAC()))
	r := w.doctor(1, "--test-mac")
	w.nft("switch", "delete table netdev one")
	if !finds(r.Together, "second-mac-unseen", "h2 sent frames from its own MAC and from 06:4e:50:") || !finds(r.Together, "second-mac-unseen", "h1 and h3 heard the first") {
		w.Errorf("of a port that allows one MAC: %+v", r.Together)
	}
	if finds(r.Together, "second-mac-unseen", "h1 sent") || finds(r.Together, "second-mac-untried", "") || finds(r.Together, "mac0-unseen", "") {
		w.Errorf("of ports that allow two: %+v", r.Together)
	}
	r = w.doctor(0, "--test-mac")
	if finds(r.Together, "second-mac-unseen", "") || finds(r.Together, "second-mac-untried", "") {
		w.Errorf("when all is well: %+v", r.Together)
	}
	if n := r.Nodes[2]; n.SecondMAC != "held" || len(n.Frames) != 2 {
		w.Errorf("h3, which holds the service, has tried %q and heard %+v", n.SecondMAC, n.Frames)
	}
	if now := w.epoch(); now != epoch {
		w.Errorf("the test frames had the service change its owner: epoch %d, and %d before", now, epoch)
	}
}

// portSecurity has the switch drop what comes with the service's MAC at its holder's port, as one that allows one MAC does. h3 sleeps, and is
// left asleep.
func (w *world) portSecurity(holder string) {
	w.Helper()
	other := map[string]string{"h1": "h2", "h2": "h1"}[holder]
	w.nft("switch", "add table netdev ps", fmt.Sprintf("add chain netdev ps in { type filter hook ingress device %s priority 0; }", holder),
		fmt.Sprintf("add rule netdev ps in ether saddr %s drop", w.wire.services[0].id.MAC))
	r := w.doctor(1)
	w.nft("switch", "delete table netdev ps")
	if !finds(r.Together, "mac0-unseen", fmt.Sprintf("%s holds web, and %s asked", holder, other)) {
		w.Errorf("of port security: %+v", r.Together)
	}
	if !finds(r.Together, "peer-asleep", "h3 is asleep") {
		w.Errorf("of the sleeper: %+v", r.Together)
	}
	if p := w.power()["h3"]; p.Power != lab.PowerAsleep {
		w.Errorf("h3 was woken: %+v", p)
	}
}

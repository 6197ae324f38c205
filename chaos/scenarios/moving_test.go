package scenarios

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// own is the command of hosts that have each a configuration and a secret of their own, which may be changed.
var own = []string{"sh", "-c", `
[ -e {dir}/own.yaml ] || { cp "$(dirname {config})/secret" {dir}/secret && sed -e 's|^secret_file:.*|secret_file: {dir}/secret|' {config} >{dir}/own.yaml; } || exit 1
exec nightporter agent --config {dir}/own.yaml --node {node}
`}

// edit changes a host's own configuration.
func (w *world) edit(host, from, to string) {
	w.Helper()
	path := filepath.Join(w.lab.Host(host).Dir(), "own.yaml")
	text, err := os.ReadFile(path)
	w.must(err)
	if !strings.Contains(string(text), from) {
		w.Fatalf("%q is not in %s", from, text)
	}
	w.must(os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600))
}

// carryOut runs commands in a host, one in a line.
func (w *world) carryOut(host, lines string) {
	w.Helper()
	for line := range strings.Lines(lines) {
		if words := strings.Fields(line); len(words) > 0 {
			_, err := w.lab.Host(host).Output(w.limit(), words...)
			w.must(err)
		}
	}
}

// restart ends a host's agent in order and starts it again; between changes the host meanwhile.
func (w *world) restart(host string, between func()) {
	w.Helper()
	h := w.lab.Host(host)
	w.must(h.Signal(w.limit(), syscall.SIGTERM))
	_, err := h.AwaitAgentExit(w.limit())
	w.must(err)
	between()
	w.must(h.Start(w.limit()))
}

// foundAt waits until every host has another one in touch at an address.
func (w *world) foundAt(host, addr string) {
	w.Helper()
	w.await("all find "+host+" at "+addr, func() string {
		for _, asked := range w.hosts {
			st, err := w.ask(asked)
			if err != nil {
				return err.Error()
			}
			if n, _ := node(st, host); n.Addr.Addr() != netip.MustParseAddr(addr) || !n.Alive || st.Leader == "" {
				return fmt.Sprintf("%s says that %s is at %s (alive: %t)", asked, host, n.Addr, n.Alive)
			}
		}
		return ""
	})
}

// A host gets another address while another one serves; the one that serves gets another interface, as docs/recovery.md has it; and then
// both at once, without maintenance. A reload cannot do that, and is refused.
func TestAHostsNetworkChanges(t *testing.T) {
	w := build(t, lab.Options{Hosts: 3, Agent: own, Sleepers: []int{}, Services: []config.Service{{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Targets: []string{"h3", "h2"}, Hold: config.HoldDrop,
		Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}},
	}}})
	w.settled(nil, 3)
	held := w.awaitServing("h3")
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)
	operator := func(words ...string) {
		w.Helper()
		_, err := w.lab.Host("h1").Output(w.limit(), append([]string{"nightporter"}, words...)...)
		w.must(err)
	}

	operator("drain", "--wait", "h2")
	w.restart("h2", func() {
		w.carryOut("h2", "ip address del 10.77.0.12/24 dev eth0\nip address add 10.77.0.62/24 dev eth0")
		w.edit("h2", "address: 10.77.0.12\n", "address: 10.77.0.62\n")
	})
	w.foundAt("h2", "10.77.0.62")
	operator("undrain", "h2")
	if now := w.awaitServing("h3"); now.Epoch != held.Epoch {
		t.Errorf("another host's new address took the service from its holder: epoch %d, now %d", held.Epoch, now.Epoch)
	}
	if g := p.longest(); g.long > handoverGap {
		t.Errorf("another host's new address cost clients %v", g)
	}

	operator("drain", "--wait", "h3")
	w.awaitServing("h2")
	w.restart("h3", func() {
		w.carryOut("h3", `
			ip link add br0 type bridge
			ip link set eth0 master br0
			ip address del 10.77.0.13/24 dev eth0
			ip address add 10.77.0.13/24 dev br0
			ip link set br0 up`)
		w.edit("h3", "interface: eth0\n", "interface: br0\n")
	})
	w.foundAt("h3", "10.77.0.13")
	w.awaitAnswer(p)
	if g := p.longest(); g.long > takeoverBound {
		t.Errorf("maintenance cost clients %v", g)
	}
	operator("undrain", "h3")
	operator("move", web, "h3")
	w.awaitServing("h3")
	w.awaitAnswer(p)
	w.connect("c1", "h3")

	// Another card and another address, while it serves.
	w.carryOut("h3", "ip link add lan1 link br0 type macvlan mode bridge\nip link set lan1 up\nip address add 10.77.0.63/24 dev lan1")
	w.restart("h3", func() {
		w.edit("h3", "interface: br0\n", "interface: lan1\n")
		w.edit("h3", "address: 10.77.0.13\n", "address: 10.77.0.63\n")
	})
	w.foundAt("h3", "10.77.0.63")
	operator("move", web, "h3")
	w.awaitServing("h3")
	w.awaitAnswer(p)
	w.connect("c1", "h3")
	now := w.awaitServing("h3")
	w.edit("h3", "address: 10.77.0.63\n", "address: 10.77.0.13\n")
	w.edit("h3", "interface: lan1\n", "interface: br0\n")
	from := len(w.agentLog("h3"))
	w.must(w.lab.Host("h3").Signal(w.limit(), syscall.SIGUSR2))
	w.await("the reload is refused", func() string {
		if log := w.agentLog("h3")[from:]; !strings.Contains(log, "the program is not replaced") || !strings.Contains(log, "interface was lan1 and is br0, which takes a restart") {
			return log
		}
		return ""
	})
	if then := w.awaitServing("h3"); then.Epoch != now.Epoch {
		t.Errorf("a reload that was refused moved the service: epoch %d, now %d", now.Epoch, then.Epoch)
	}
	w.awaitAnswer(p)
	p.end()
	all, asked := p.gaps()
	t.Logf("%d questions, gaps %v", asked, all)
	w.settled(nil, 3)
	w.spotless("h1", "h2")
}

package scenarios

import (
	"os"
	"strings"
	"testing"

	"nightporter/chaos/lab"
)

// Two hosts are set up by nothing but `nightporter setup`: the first one founds its cluster alone, invites the second one, which the
// configuration does not name yet, and that joins and can be given the service.
func TestTwoHostsAreSetUp(t *testing.T) {
	w := build(t, lab.Options{
		Hosts: 2, Sleepers: []int{},
		// There is nothing to run before a host is set up.
		Agent: []string{"sh", "-c", "test ! -e {dir}/nightporter.yaml || exec nightporter agent --config {dir}/nightporter.yaml --node {node} --data-dir {dir}/data"},
	})
	h1, h2 := w.lab.Host("h1"), w.lab.Host("h2")
	for _, h := range []*lab.Host{h1, h2} {
		if _, err := h.AwaitAgentExit(w.limit()); err != nil {
			t.Fatal(err)
		}
	}
	args := func(h *lab.Host, more ...string) []string {
		return append([]string{"nightporter", "setup", "--config", h.Dir() + "/nightporter.yaml", "--node", h.Name()}, more...)
	}
	out, err := h1.Output(w.limit(), args(h1, "--yes", "--cluster", "den", "--service", "web 10.77.0.200 8080/tcp on h1")...)
	w.must(err)
	if !strings.Contains(out, "made a new secret") || !strings.Contains(out, "setup --invite | ssh") {
		t.Errorf("the first host was told:\n%s", out)
	}
	w.must(h1.Start(w.limit()))
	w.settled([]string{"h1"}, 1)
	w.awaitServing("h1")

	if _, err := h1.Output(w.limit(), args(h1, "--yes")...); err == nil || !strings.Contains(err.Error(), "there is a configuration already") {
		t.Errorf("a second setup was not refused: %v", err)
	}
	invitation, err := h1.Output(w.limit(), args(h1, "--invite")...)
	w.must(err)
	w.must(os.Remove(h1.Dir() + "/secret")) // the hosts of a lab have one disk: what the second one has now came by the invitation
	out, err = w.outputOf(h2, invitation, args(h2, "--join")...)
	w.must(err)
	if !strings.Contains(out, "took the secret over") || !strings.Contains(out, `h2: {address: "10.77.0.12"}`) {
		t.Errorf("the second host was told:\n%s", out)
	}
	w.must(h2.Start(w.limit()))
	w.settled(nil, 0)
}

// outputOf is Host.Output with something at the program's standard input.
func (w *world) outputOf(h *lab.Host, in string, argv ...string) (string, error) {
	w.Helper()
	f, err := os.CreateTemp(w.TempDir(), "in")
	w.must(err)
	defer f.Close()
	_, err = f.WriteString(in)
	w.must(err)
	return h.Output(w.limit(), append([]string{"sh", "-c", `f=$1; shift; exec "$@" <"$f"`, "sh", f.Name()}, argv...)...)
}

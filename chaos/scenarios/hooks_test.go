package scenarios

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// noted is a host whose hooks write down what they are told.
type noted struct {
	*world
	name string
}

func (n noted) path(name string) string { return filepath.Join(n.lab.Host(n.name).Dir(), name) }

// equip puts two executables there: one that writes a line for each time that it is run, and one that hangs while a file says so.
func (n noted) equip() {
	n.Helper()
	dir := n.path(lab.ChecksDir)
	n.must(os.MkdirAll(dir, 0o755))
	note := fmt.Sprintf("#!/bin/sh\necho \"$NIGHTPORTER_EVENT $NIGHTPORTER_NODE $NIGHTPORTER_SERVICE $NIGHTPORTER_EPOCH $NIGHTPORTER_ROLE $NIGHTPORTER_REASON\" >>%q\n", n.path("told"))
	n.must(os.WriteFile(filepath.Join(dir, "note"), []byte(note), 0o755))
	hang := fmt.Sprintf("#!/bin/sh\nwhile test -e %q; do sleep 0.05; done\n", n.path("hang"))
	n.must(os.WriteFile(filepath.Join(dir, "hang"), []byte(hang), 0o755))
}

// told are the lines, each split into its words.
func (n noted) told() (out [][]string) {
	n.Helper()
	b, err := os.ReadFile(n.path("told"))
	if os.IsNotExist(err) {
		return nil
	}
	n.must(err)
	for line := range strings.Lines(string(b)) {
		out = append(out, strings.Fields(line))
	}
	return out
}

// awaitLast waits until the last that a host was told about web is this.
func (n noted) awaitLast(moment string, epoch uint64, role string) {
	n.Helper()
	n.await(fmt.Sprintf("%s is told %s %d as %s", n.name, moment, epoch, role), func() string {
		all := n.told()
		if len(all) == 0 {
			return "it was told nothing"
		}
		last := all[len(all)-1]
		if len(last) < 5 || last[0] != moment || last[1] != n.name || last[2] != web || last[3] != strconv.FormatUint(epoch, 10) || last[4] != role {
			return fmt.Sprintf("the last is %q", last)
		}
		return ""
	})
}

// inOrder wants each acquire to be followed by its own release.
func (n noted) inOrder() {
	n.Helper()
	open := ""
	for _, one := range n.told() {
		switch {
		case one[0] == "acquire" && open == "":
			open = one[3] + one[4]
		case one[0] == "release" && open == one[3]+one[4]:
			open = ""
		default:
			n.Errorf("%s was told %q", n.name, n.told())
			return
		}
	}
}

// Hooks follow the identity over moves, a crash of the daemon and a new program, each release after its acquire; and one that hangs keeps
// neither the identity nor the next hooks waiting for longer than its time.
func TestHooksFollowTheIdentity(t *testing.T) {
	w := build(t, lab.Options{
		Hosts: 3, Sleepers: []int{}, Failover: slowFailover,
		Lines: []string{"hooks: {acquire: [hang, note], release: [hang, note], timeout: 3s}"},
		Services: []config.Service{{
			Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Hold: config.HoldDrop, Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}}, Targets: []string{"h1", "h2"},
		}},
	})
	h1, h2 := noted{w, "h1"}, noted{w, "h2"}
	for _, h := range w.hosts {
		noted{w, h}.equip()
	}
	w.settled(nil, 3)
	move := func(to string) uint64 {
		_, err := w.api("h3").Move(w.limit(), web, to)
		w.must(err)
		return w.awaitServing(to).Epoch
	}
	first := move("h1")
	h1.awaitLast("acquire", first, "target")
	second := move("h2")
	h1.awaitLast("release", first, "target")
	h2.awaitLast("acquire", second, "target")

	// A hook that hangs: the identity has moved twice before it ends.
	w.must(os.WriteFile(h2.path("hang"), nil, 0o644))
	move("h1")
	third := move("h2")
	last := move("h1")
	w.await("the time of the hook that hangs is over", func() string {
		s, err := w.ask("h2")
		if err != nil {
			return err.Error()
		}
		if !slices.Contains(s.Problems, "the hook hang for release of web failed: it did not end within 3s and was killed") {
			return fmt.Sprintf("its problems are %q", s.Problems)
		}
		return ""
	})
	h2.awaitLast("release", second, "target")
	w.must(os.Remove(h2.path("hang")))
	h1.awaitLast("acquire", last, "target")
	for _, one := range h2.told() {
		if one[3] == strconv.FormatUint(third, 10) {
			t.Errorf("h2 was told of a tenure that had ended before its hooks did: %q", one)
		}
	}

	// A new program goes on, and tells nothing.
	before, from := len(h1.told()), len(w.agentLog("h1"))
	w.must(w.lab.Host("h1").Signal(w.limit(), syscall.SIGUSR2))
	w.await("the new program goes on", func() string {
		if !strings.Contains(w.agentLog("h1")[from:], "going on with what the former program held") {
			return "it does not"
		}
		return ""
	})
	w.settled(nil, 3)
	next := move("h2")
	h1.awaitLast("release", last, "target")
	if all := h1.told(); len(all) != before+1 {
		t.Errorf("over a new program and a move h1 was told %q", all[before:])
	}

	// A daemon that is killed cannot tell; its next life does.
	h2.awaitLast("acquire", next, "target")
	w.must(w.lab.Host("h2").Signal(w.limit(), syscall.SIGKILL))
	if _, err := w.lab.Host("h2").AwaitAgentExit(w.limit()); err != nil {
		t.Fatal(err)
	}
	w.must(w.lab.Host("h2").Start(w.limit()))
	w.settled(nil, 3)
	w.await("the next life of h2 tells of the end", func() string {
		if !slices.ContainsFunc(h2.told(), func(one []string) bool { return one[0] == "release" && one[3] == strconv.FormatUint(next, 10) }) {
			return fmt.Sprintf("it was told %q", h2.told())
		}
		return ""
	})
	// A clean end tells, too.
	holder, s := w.awaitHolder(web, "serving")
	noted{w, holder}.awaitLast("acquire", s.Epoch, "target")
	w.must(w.lab.Host(holder).Signal(w.limit(), syscall.SIGTERM))
	if code, err := w.lab.Host(holder).AwaitAgentExit(w.limit()); err != nil || code != 0 {
		t.Fatalf("the agent ended with status %d (%v)", code, err)
	}
	if all := (noted{w, holder}).told(); all[len(all)-1][0] != "release" {
		t.Errorf("when its agent had ended, the last that %s was told was %q", holder, all[len(all)-1])
	}
	h1.inOrder()
	h2.inOrder()
}

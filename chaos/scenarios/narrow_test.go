package scenarios

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"nightporter/chaos/lab"
)

// narrowProgram builds the program for a processor of 32 bits whose programs this machine runs too.
func narrowProgram(t *testing.T) string {
	t.Helper()
	arch, known := map[string]string{"amd64": "386", "arm64": "arm"}[runtime.GOARCH]
	if !known {
		t.Skipf("no processor of 32 bits is known here whose programs one of %s runs", runtime.GOARCH)
	}
	path := filepath.Join(t.TempDir(), "nightporter-"+arch)
	cmd := exec.Command("go", "build", "-o", path, "./cmd/nightporter")
	cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build for %s: %v\n%s", arch, err, out)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Class != elf.ELFCLASS32 {
		t.Fatalf("the program for %s is %v", arch, f.Class)
	}
	return path
}

// A Pi of 32 bits and a PC in one cluster: the sleeper and two of the three that may stand in for it run a program whose ints have 32 bits. It hands
// over, holds for the sleeper, wakes it on demand, and takes over after a crash, in both directions between the two widths.
func TestHostsOf32And64Bits(t *testing.T) {
	programs, narrow := t.TempDir(), narrowProgram(t)
	for host, of := range map[string]string{"h1": narrow, "h2": program, "h3": narrow, "h4": narrow} {
		if err := os.Symlink(of, filepath.Join(programs, host)); err != nil {
			t.Fatal(err)
		}
	}
	w := build(t, lab.Options{
		Hosts: 4, Sleepers: []int{4}, Failover: slowFailover,
		Agent: []string{filepath.Join(programs, "{node}"), "agent", "--config", "{config}", "--node", "{node}"},
	})
	w.settled(nil, 3)
	w.awaitServing("h4")
	p := w.probe("c1", webPort())
	w.awaitAnswer(p)
	p.end()
	front := w.sleep("h4")
	for _, to := range []string{"h1", "h2", "h3"} {
		if to == front {
			continue
		}
		_, err := w.api(to).Move(w.limit(), web, to)
		w.must(err)
		if holder, s := w.awaitHolder(web, "holding"); holder != to || s.Fence.Kind != "bpf" {
			t.Errorf("after the move %s holds, behind a fence of kind %q", holder, s.Fence.Kind)
		}
		front = to
	}
	w.connect("c1", "h4") // wakes it
	w.awaitServing("h4")
	front = w.sleep("h4")
	w.crash(takeoverBound, front)
	w.connect("c1", "h4")
	w.awaitServing("h4")
}

package lab_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// traces is what a lab could leave behind.
type traces struct {
	dir    string
	spaces []string // network namespaces
	group  string   // what its control group is called
}

// note puts a host to sleep, so that there are frozen processes, and writes down what is there.
func note(t *testing.T, l *lab.Lab) traces {
	t.Helper()
	ctx := limit(t)
	tr := traces{dir: l.Dir()}
	for _, name := range []string{"h1", "h2", "c1", "switch"} {
		out, err := l.Host(name).Output(ctx, "readlink", "/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		tr.spaces = append(tr.spaces, strings.TrimSpace(out))
	}
	if err := l.Host("h2").Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	keeper, _, err := l.Pids()
	if err != nil {
		t.Fatal(err)
	}
	tr.group = "nightporter-lab-" + strconv.Itoa(keeper)
	if left := tr.left(t); len(left) == 0 {
		t.Fatal("a running lab was not found: what is found afterwards would say nothing")
	}
	return tr
}

// left lists what there is of the lab.
func (tr traces) left(t *testing.T) []string {
	t.Helper()
	var left []string
	if _, err := os.Stat(tr.dir); err == nil {
		left = append(left, "directory "+tr.dir)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/", "/sys/fs/cgroup/*/*/", "/sys/fs/cgroup/*/*/*/"} {
		groups, err := filepath.Glob(pattern + tr.group)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, groups...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), tr.dir) {
		left = append(left, "a mount in "+tr.dir)
	}
	spaces, err := filepath.Glob("/proc/[0-9]*/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range spaces {
		link, err := os.Readlink(path)
		for _, space := range tr.spaces {
			if err == nil && link == space {
				left = append(left, path)
			}
		}
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), tr.dir) {
			left = append(left, path)
		}
	}
	return left
}

func (tr traces) awaitGone(t *testing.T) {
	t.Helper()
	var left []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("still there: %q", left)
		}
	})
	eventually(t, "everything of the lab is gone", func() bool { left = tr.left(t); return len(left) == 0 })
}

func TestKilledLabsLeaveNothing(t *testing.T) {
	for name, signals := range map[string]bool{"best freezer": false, "signals": true} {
		for _, victim := range []string{"supervisor", "keeper"} {
			t.Run(victim+", "+name, func(t *testing.T) {
				l, err := lab.Up(limit(t), lab.Options{Hosts: 2, NoAgent: true, NoCgroup: signals})
				if err != nil {
					t.Fatal(err)
				}
				tr := note(t, l)
				keeper, supervisor, err := l.Pids()
				if err != nil {
					t.Fatal(err)
				}
				pid := map[string]int{"supervisor": supervisor, "keeper": keeper}[victim]
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				tr.awaitGone(t)
				if err := l.Down(limit(t)); err != nil {
					t.Errorf("Down after that: %v", err)
				}
			})
		}
	}
}

// When both are killed at the same time, nobody is left to remove the directory: the next `lab down` does it.
func TestKeeperAndSupervisorKilledTogether(t *testing.T) {
	l, err := lab.Up(limit(t), lab.Options{Hosts: 2, NoAgent: true})
	if err != nil {
		t.Fatal(err)
	}
	tr := note(t, l)
	keeper, supervisor, err := l.Pids()
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // stopped first, so that neither sees the other die
		for _, pid := range []int{keeper, supervisor} {
			if err := syscall.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	if left := tr.left(t); !slices.Contains(left, "directory "+l.Dir()) {
		t.Fatalf("somebody was left to tidy up: only %q is left", left)
	}
	if err := lab.Down(limit(t), l.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(limit(t)); err != nil { // collects the keeper
		t.Error(err)
	}
	tr.awaitGone(t)
}

func TestALabEndsWithItsOwner(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	owner := exec.Command(exe, "lab", "own")
	out, err := owner.StdoutPipe()
	if err == nil {
		err = owner.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	dir, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Attach(limit(t), strings.TrimSpace(dir))
	if err != nil {
		t.Fatal(err)
	}
	tr := note(t, l)
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // killed
	tr.awaitGone(t)
}

func TestDetachedLab(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "l")
	l, err := lab.Up(limit(t), lab.Options{Dir: dir, Hosts: 2, NoAgent: true, Detached: true, Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	again, err := lab.Up(limit(t), lab.Options{Dir: dir, Hosts: 1, NoAgent: true})
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a second lab in the same directory: %v, %v", again, err)
	}
	tr := note(t, l)
	if err := lab.Down(limit(t), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "hosts", "h1", "server.log")); err != nil {
		t.Errorf("the logs were to be kept: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(limit(t)); err != nil {
		t.Errorf("Down of a lab that has ended: %v", err)
	}
	tr.awaitGone(t)
	if err := lab.Down(limit(t), dir); err == nil {
		t.Error("there was a lab to end where none is")
	}
}

func TestUpIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(t.TempDir(), "l")
	if _, err := lab.Up(ctx, lab.Options{Dir: dir, Hosts: 2, NoAgent: true}); err == nil {
		t.Fatal("a cancelled Up built a lab")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a cancelled Up left its directory (%v)", err)
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	for what, o := range map[string]lab.Options{
		"1 to 32":      {Hosts: 33},
		"1 to 8":       {Clients: 9},
		"hosts 1":      {Hosts: 2, Sleepers: []int{3}},
		"twice":        {Hosts: 2, Sleepers: []int{2, 2}},
		"out of range": {Failover: time.Millisecond, Dir: long},
		"from 0 on":    {ResumeTime: -time.Second},
		"log level":    {LogLevel: "loud", Dir: long},
		"too long":     {Dir: long},
	} {
		l, err := lab.Up(limit(t), o)
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%+v gave %v, %v; want an error with %q", o, l, err, what)
		}
	}
}

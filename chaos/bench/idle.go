package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"nightporter/chaos/lab"
)

// idle looks at the agents of a cluster in which nothing happens.
func idle(ctx context.Context, o *Options) (Table, error) {
	const failover = time.Second
	t := Table{
		Title: fmt.Sprintf("An idle agent (3 hosts, one service, %v)", o.Idle),
		Notes: []string{
			"processor time is what the scheduler counted for all threads of the agent (/proc/PID/task/*/schedstat), in per cent of one core",
			"written is what the agent caused to be sent to the disk (write_bytes in /proc/PID/io)",
			"in a lab the sender of a frame pays for its whole way through the switch and the receiver's kernel",
		},
	}
	rss, cpu, disk := Row{Name: "resident memory", Unit: "MB", Goal: Goal{Max: 40}}, map[string]*Row{}, Row{Name: "written to disk", Unit: "bytes"}
	roles := []string{"follower", "holder", "leader"}
	for _, r := range roles {
		cpu[r] = &Row{Name: "processor time, " + r, Unit: "% core", Goal: Goal{Max: 0.5}}
	}
	err := inLab(ctx, alwaysOn(o, 3, failover), func(ctx context.Context, l *lab.Lab) error {
		// The leader hands the lead away when it holds something; that is part of coming to rest.
		s, err := whole(ctx, l, hostNames(3), failover)
		for err == nil && s.leader == s.holder {
			o.say("idle: waiting until the host that holds does not lead as well")
			s, err = whole(ctx, l, hostNames(3), 2*time.Second)
		}
		if err == nil {
			s, err = whole(ctx, l, hostNames(3), 10*time.Second)
		}
		if err != nil {
			return err
		}
		before, err := usages(l)
		if err != nil {
			return err
		}
		o.say("idle: looking on for %v", o.Idle)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(o.Idle):
		}
		after, err := usages(l)
		if err != nil {
			return err
		}
		for h, a := range after {
			b := before[h]
			role := "follower"
			switch h {
			case s.leader:
				role = "leader"
			case s.holder:
				role = "holder"
			}
			rss.Samples = append(rss.Samples, float64(a.rss)/1e6)
			cpu[role].Samples = append(cpu[role].Samples, float64(a.cpu-b.cpu)/float64(a.at.Sub(b.at))*100)
			disk.Samples = append(disk.Samples, float64(a.written-b.written))
		}
		return nil
	})
	t.Rows = []Row{rss, *cpu["follower"], *cpu["holder"], *cpu["leader"], disk}
	return t, err
}

// usage is what one process has cost so far.
type usage struct {
	at      time.Time
	cpu     time.Duration
	rss     uint64
	written uint64
}

// usages looks at the agents of a lab, by host.
func usages(l *lab.Lab) (map[string]usage, error) {
	out := make(map[string]usage)
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, p := range procs {
		raw, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(strings.TrimRight(string(raw), "\x00"), "\x00")
		if len(args) < 3 || args[1] != "agent" || !strings.Contains(string(raw), l.Dir()+"/") {
			continue
		}
		u, err := usageOf(p)
		if err != nil {
			return nil, err
		}
		out[args[len(args)-1]] = u
	}
	if len(out) == 0 {
		return nil, errors.New("no agent of the lab is to be seen in /proc")
	}
	return out, nil
}

func usageOf(proc string) (u usage, err error) {
	u.at = time.Now()
	tasks, err := filepath.Glob(filepath.Join(proc, "task", "*", "schedstat"))
	if err != nil {
		return u, err
	}
	for _, t := range tasks {
		raw, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(raw))[0], 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ns)
	}
	kb, err := field(filepath.Join(proc, "status"), "VmRSS:")
	if err != nil {
		return u, err
	}
	u.rss = kb * 1024
	u.written, err = field(filepath.Join(proc, "io"), "write_bytes:")
	return u, err
}

// field reads the number behind a name in one of the line-wise files of /proc.
func field(path, name string) (uint64, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, is := strings.CutPrefix(line, name); is {
			return strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

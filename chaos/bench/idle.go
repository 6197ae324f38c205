package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"nightporter/chaos/lab"
)

// idle looks at the agents of a cluster in which nothing happens.
func idle(ctx context.Context, o *Options) (Table, error) {
	const hosts, failover = 3, time.Second
	t := Table{
		Title: fmt.Sprintf("An idle agent (%d hosts, one service, %v)", hosts, o.Idle),
		Notes: []string{
			"processor time: what the scheduler counted for all threads of the agent (/proc/PID/task/*/schedstat), in per cent of one core;",
			"in a lab the sender of a frame pays for its whole way through the switch and the receiver's kernel",
			"written to disk: write_bytes of /proc/PID/io; write calls: syscw, which counts those to pipes and sockets as well",
			"memory: VmRSS and VmHWM, with the pages of the program's file that the agents of a lab share",
		},
	}
	err := inLab(ctx, alwaysOn(o, hosts, failover), func(ctx context.Context, l *lab.Lab) error {
		s, err := atRest(ctx, o, l, hostNames(hosts), failover)
		if err != nil {
			return err
		}
		logs := logSizes(l, hostNames(hosts))
		before, err := usages(l)
		if err != nil {
			return err
		}
		o.say("idle: looking on for %v", o.Idle)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(o.Idle):
		}
		after, err := usages(l)
		if err != nil {
			return err
		}
		if t.Rows, err = idleRows(s, before, after); err != nil {
			return err
		}
		news, err := logged(l, logs)
		t.Notes = append(t.Notes, news...)
		return err
	})
	return t, err
}

// atRest waits until nothing is left to be done. The leader hands the lead away when it holds something: that is part of
// coming to rest.
func atRest(ctx context.Context, o *Options, l *lab.Lab, hosts []string, failover time.Duration) (state, error) {
	s, err := whole(ctx, l, hosts, failover)
	for err == nil && s.leader == s.holder {
		o.say("idle: waiting until the host that holds does not lead as well")
		s, err = whole(ctx, l, hosts, 2*failover)
	}
	if err != nil {
		return s, err
	}
	return whole(ctx, l, hosts, 10*failover)
}

// logSizes notes how long the agents' logs are.
func logSizes(l *lab.Lab, hosts []string) map[string]int {
	sizes := make(map[string]int)
	for _, h := range hosts {
		raw, err := os.ReadFile(agentLog(l, h))
		if err == nil { // else nothing has been logged yet
			sizes[h] = len(raw)
		}
	}
	return sizes
}

// logged tells what the agents have logged since. An idle agent logs nothing: what happened there, such as an election on a
// machine that was too busy for the lead to be kept, is in the costs.
func logged(l *lab.Lab, before map[string]int) (news []string, err error) {
	for _, h := range slices.Sorted(maps.Keys(before)) {
		raw, err := os.ReadFile(agentLog(l, h))
		if err != nil {
			return nil, fmt.Errorf("looking for what %s has logged: %w", h, err)
		}
		news = append(news, notIdle(h, string(raw[min(before[h], len(raw)):]))...)
	}
	return news, nil
}

// notIdle says so of a host if it has logged anything.
func notIdle(host, lines string) []string {
	lines = strings.TrimSpace(lines)
	if lines == "" {
		return nil
	}
	first, _, _ := strings.Cut(lines, "\n")
	return []string{fmt.Sprintf("%s was not idle: it logged %d lines meanwhile, the first: %s", host, strings.Count(lines, "\n")+1, first)}
}

// idleRows makes the rows of what the agents cost between two looks, by their roles.
func idleRows(s state, before, after map[string]usage) ([]Row, error) {
	cost := func(name, unit string, goal Goal, of func(a, b usage) float64) ([]Row, error) {
		rows := []Row{{Name: name + ", leader"}, {Name: name + ", holder"}, {Name: name + ", follower"}}
		for _, host := range slices.Sorted(maps.Keys(after)) {
			b, known := before[host]
			if !known || b.pid != after[host].pid {
				return nil, fmt.Errorf("the agent of %s was started anew while it was looked at", host)
			}
			role := 2
			switch host {
			case s.leader:
				role = 0
			case s.holder:
				role = 1
			}
			rows[role].Samples = append(rows[role].Samples, of(after[host], b))
		}
		for i := range rows {
			rows[i].Unit, rows[i].Goal = unit, goal
		}
		return rows, nil
	}
	var all []Row
	for _, c := range []struct {
		name, unit string
		goal       Goal
		of         func(a, b usage) float64
	}{
		{"memory", "MB", Goal{Max: 40}, func(a, _ usage) float64 { return float64(a.rss) / 1e6 }},
		{"memory at most", "MB", Goal{}, func(a, _ usage) float64 { return float64(a.peak) / 1e6 }},
		{"processor time", "% core", Goal{Max: 0.5}, func(a, b usage) float64 { return float64(a.cpu-b.cpu) / float64(a.at.Sub(b.at)) * 100 }},
		{"written to disk", "bytes", Goal{None: true}, func(a, b usage) float64 { return float64(a.written - b.written) }},
		{"write calls", "a second", Goal{}, func(a, b usage) float64 { return float64(a.calls-b.calls) / a.at.Sub(b.at).Seconds() }},
	} {
		rows, err := cost(c.name, c.unit, c.goal, c.of)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

// usage is what one process has cost so far.
type usage struct {
	pid     string
	at      time.Time
	cpu     time.Duration
	rss     uint64 // bytes now
	peak    uint64 // and at most
	written uint64 // bytes sent to the disk
	calls   uint64 // of write(2) and its like
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
	u.pid, u.at = filepath.Base(proc), time.Now()
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
	for _, f := range []struct {
		to         *uint64
		file, name string
		factor     uint64
	}{
		{&u.rss, "status", "VmRSS:", 1024},
		{&u.peak, "status", "VmHWM:", 1024},
		{&u.written, "io", "write_bytes:", 1},
		{&u.calls, "io", "syscw:", 1},
	} {
		n, err := field(filepath.Join(proc, f.file), f.name)
		if err != nil {
			return u, fmt.Errorf("looking at an agent: %w", err)
		}
		*f.to = n * f.factor
	}
	return u, nil
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

package run

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/chaos/check"
	"nightporter/chaos/history"
	"nightporter/chaos/lab"
	"nightporter/chaos/report"
)

// patience is how long a host may complain in the end before it counts: on a busy machine a leader may miss its heartbeats in
// this very moment, or a service is just being handed on.
const patience = 10 * time.Second

// ends asks every host how it stands, and looks at its addresses, until all is well or patience is over.
func (t *trial) ends(ctx context.Context) error {
	var setup history.Setup
	t.journal.Do(func(h *history.History) { setup = h.Setup })
	for by := time.Now().Add(patience); ; {
		all, err := t.look(ctx)
		if err != nil {
			return err
		}
		well := !slices.ContainsFunc(all, func(e history.End) bool {
			return !e.Up && !e.Rests || e.Up && !e.Member || e.Problem != "" || len(e.Leftover(setup)) > 0
		})
		if well || time.Now().After(by) {
			t.journal.Do(func(h *history.History) { h.Ends, h.Ended = all, time.Now() })
			return nil
		}
		if !until(ctx, time.Now().Add(500*time.Millisecond)) {
			return ctx.Err()
		}
	}
}

func (t *trial) look(ctx context.Context) ([]history.End, error) {
	st, err := t.lab.Status(ctx)
	if err != nil {
		return nil, err
	}
	var all []history.End
	for _, h := range st.Hosts {
		e := history.End{Host: h.Name, Up: h.Power == lab.PowerUp && h.Agent == "running", Owners: map[string]string{}}
		e.Rests = h.Power == lab.PowerAsleep && t.Idle > 0 && slices.Contains(t.field.sleepers, h.Name)
		if e.Up {
			t.end(ctx, &e)
		}
		all = append(all, e)
	}
	return all, nil
}

func (t *trial) end(ctx context.Context, e *history.End) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	st, err := t.lab.Host(e.Host).API().Status(ctx)
	if err != nil {
		e.Problem = err.Error()
		return
	}
	e.Member = st.Cluster.ID != "" && slices.ContainsFunc(st.Nodes, func(n api.NodeStatus) bool { return n.Name == e.Host })
	e.Problem, e.Failover = strings.Join(complaints(st), "; "), time.Duration(st.Failover)
	for _, sv := range st.Services {
		e.Defined = append(e.Defined, sv.Name)
		e.Owners[sv.Name] = sv.Owner
		if sv.Fence.State == "open" {
			e.Open = append(e.Open, sv.Name)
		}
	}
	if e.Present, err = t.addresses(ctx, e.Host); err != nil {
		e.Problem = err.Error()
	}
}

// complaints are an agent's problems, but for the one that operators made, since the cluster's setting is not the file's any more, and for
// what is always so with two hosts.
func complaints(st api.Status) []string {
	return slices.DeleteFunc(slices.Clone(st.Problems), func(s string) bool {
		return strings.HasPrefix(s, "failover is ") || len(st.Nodes) == 2 && strings.HasPrefix(s, "there is only one voter ")
	})
}

// addresses gives the services of which a host's kernel has an address.
func (t *trial) addresses(ctx context.Context, host string) ([]string, error) {
	four, err := t.lab.Host(host).Output(ctx, "cat", "/proc/net/fib_trie")
	if err != nil {
		return nil, err
	}
	six, err := t.lab.Host(host).Output(ctx, "cat", "/proc/net/if_inet6")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, sv := range t.field.all() {
		for _, a := range sv.Addrs {
			hex := fmt.Sprintf("%x", a.As16())
			if a.Is4() && local(four, a.String()) || a.Is6() && strings.Contains(six, hex) {
				out = append(out, sv.Name)
				break
			}
		}
	}
	return out, nil
}

// local looks for an address of the host itself in /proc/net/fib_trie: the line after the address says so.
func local(trie, addr string) bool {
	for _, part := range strings.Split(trie, "-- "+addr+"\n")[1:] {
		line, _, _ := strings.Cut(part, "\n")
		if strings.Contains(line, "host LOCAL") {
			return true
		}
	}
	return false
}

// judge gathers what is left, judges and reports.
func (t *trial) judge(ctx context.Context) (*Result, error) {
	limit, cancel := context.WithTimeout(ctx, building)
	defer cancel()
	if err := t.observer.Past(limit, time.Now()); err != nil {
		return nil, err
	}
	for _, name := range t.field.hosts {
		t.sampler.historyOf(limit, name)
	}
	lost := t.observer.Stop()
	body, err := os.ReadFile(filepath.Join(t.lab.Dir(), "lab.log"))
	if err != nil {
		return nil, fmt.Errorf("reading the laboratory's log: %w", err)
	}
	h := t.journal.Finish()
	if step := stepped(t.began); step.Abs() > 5*time.Millisecond {
		h.Blind = append(h.Blind, fmt.Sprintf("this machine's clock was set by %s during the run, which mixes up frames and faults", step))
	}
	if lost != nil {
		h.Blind = append(h.Blind, lost.Error())
	}
	t.observer.Fill(h)
	h.Powers = powers(body)
	tidy(h)
	h.Crashes = t.crashes()
	t.journal.Finish()
	r := &Result{History: h, Verdicts: check.Judge(h)}
	r.Idle = slices.DeleteFunc(check.Idle(r.Verdicts), func(name string) bool { return slices.Contains(t.beside(), name) })
	return r, Save(t.Dir, r)
}

// stepped is by how much the wall clock went another way than the monotonic one since a moment.
func stepped(since time.Time) time.Duration {
	now := time.Now()
	return now.Round(0).Sub(since.Round(0)) - now.Sub(since)
}

// Save writes what a run came to into its folder.
func Save(dir string, r *Result) error {
	if err := r.History.Write(filepath.Join(dir, HistoryFile)); err != nil {
		return err
	}
	v := struct {
		OK       bool            `json:"ok"`
		Seed     uint64          `json:"seed"`
		Version  string          `json:"version"`
		Idle     []string        `json:"idle"` // checks that had nothing to judge
		Verdicts []check.Verdict `json:"verdicts"`
	}{r.OK(), r.History.Seed, r.History.Version, r.Idle, r.Verdicts}
	if err := writeJSON(filepath.Join(dir, VerdictFile), v); err != nil {
		return err
	}
	var page bytes.Buffer
	if err := report.Write(&page, r.History, r.Verdicts); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, ReportFile), page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// powers reads the changes of power from the laboratory's log.
func powers(log []byte) []history.Power {
	var out []history.Power
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if !strings.Contains(line, "msg=power ") {
			continue
		}
		f := fields(line)
		at, err := time.Parse(time.RFC3339Nano, f["at"])
		if err != nil || !strings.HasPrefix(f["host"], "h") {
			continue
		}
		out = append(out, history.Power{Host: f["host"], At: at, State: history.PowerState(f["to"])})
	}
	return out
}

// fields splits a line of slog's text form whose values have no blanks.
func fields(line string) map[string]string {
	out := map[string]string{}
	for _, word := range strings.Fields(line) {
		if k, v, ok := strings.Cut(word, "="); ok {
			out[k] = v
		}
	}
	return out
}

// crashes looks in the agents' logs for what no healthy agent writes.
func (t *trial) crashes() []string {
	var out []string
	logs, _ := filepath.Glob(filepath.Join(t.lab.Dir(), "hosts", "*", "agent.log")) // the pattern is a constant and sound
	for _, path := range logs {
		body, err := os.ReadFile(path)
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		host := filepath.Base(filepath.Dir(path))
		for line := range strings.Lines(string(body)) {
			for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
				if strings.Contains(line, bad) {
					out = append(out, host+": "+strings.TrimSpace(line))
				}
			}
		}
	}
	return out
}

// saveLogs copies the logs of the laboratory and its agents into the run's folder.
func (t *trial) saveLogs() error {
	logs, _ := filepath.Glob(filepath.Join(t.lab.Dir(), "hosts", "*", "agent.log")) // the pattern is a constant and sound
	logs = append(logs, filepath.Join(t.lab.Dir(), "lab.log"))
	dir := filepath.Join(t.Dir, logsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("saving the logs: %w", err)
	}
	for _, path := range logs {
		name := filepath.Base(path)
		if name == "agent.log" {
			name = filepath.Base(filepath.Dir(path)) + ".log"
		}
		if err := copyFile(filepath.Join(dir, name), path); err != nil {
			return fmt.Errorf("saving the logs: %w", err)
		}
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/chaos/check"
	"nightporter/chaos/history"
	"nightporter/chaos/lab"
	"nightporter/chaos/nemesis"
	"nightporter/chaos/observer"
	"nightporter/chaos/workload"
)

// The files of a run.
const (
	PlanFile    = "plan.json"
	HistoryFile = "history.json"
	VerdictFile = "verdict.json"
	ReportFile  = "report.html"
	pcapFile    = "wire.pcapng"
	logsDir     = "logs"
)

// Plan is what a seed makes, with all that it was made from.
type Plan struct {
	Seed      uint64         `json:"seed"`
	Hosts     int            `json:"hosts"`
	Witnesses int            `json:"witnesses,omitempty"`
	LookAfter time.Duration  `json:"look_after,omitempty"`
	Idle      time.Duration  `json:"idle,omitempty"`
	Duration  time.Duration  `json:"duration"`
	Failover  time.Duration  `json:"failover"`
	Switch    string         `json:"switch"`
	Version   string         `json:"version"`
	Deeds     []nemesis.Deed `json:"deeds"`
}

// Result is what a run came to.
type Result struct {
	History  *history.History
	Verdicts []check.Verdict
	Idle     []string // checks that had nothing to judge
}

// OK says whether every promise was kept, and a thorough run came to judging all of them.
func (r *Result) OK() bool {
	return check.OK(r.Verdicts) && (len(r.Idle) == 0 || r.History.Ended.Sub(r.History.Began) < thorough)
}

// trial is a run that goes on.
type trial struct {
	Options
	field    field
	lab      *lab.Lab
	began    time.Time
	journal  *history.Journal
	observer *observer.Observer
	sampler  *sampler
	nemesis  *nemesis.Nemesis
	operator *workload.Operator
	calm     chan struct{}

	operators, clients workload.Gate
	telling            sync.Mutex
	leaving            map[string]bool // hosts whose leave nobody answered; under the journal's lock
	pcap               *os.File
}

// Where the clients are: two that connect, one that is foreign, one more for the observer's controls.
var (
	places  = []string{"c1", "c2"}
	foreign = "c3"
	other   = "c4"
)

const building = time.Minute

// Run makes a run. An error says that the laboratory failed or the run was interrupted; what the cluster did wrong is in
// the result. The folder has whatever there was to write.
func Run(ctx context.Context, o Options) (*Result, error) {
	o.drawShape()
	o.settleSwitch()
	if o.Settle == 0 {
		o.Settle = settle
	}
	t := &trial{Options: o, field: fieldOf(o), began: time.Now(), calm: make(chan struct{}), leaving: map[string]bool{}}
	if err := t.writePlan(); err != nil {
		return nil, err
	}
	up, cancel := context.WithTimeout(ctx, building)
	defer cancel()
	options := lab.Options{
		Binary: o.Binary, Hosts: o.Hosts, Clients: 4, Sleepers: t.field.numbers, Failover: o.Failover, ResumeTime: resumeTime, Switch: o.Switch, Talk: true,
		Witnesses: t.field.witnesses, LookAfter: o.LookAfter, Idle: o.Idle, StayAwake: []string{"network: 0", "at_least: 1s"},
	}
	for _, sv := range t.field.services {
		options.Services = append(options.Services, forFile(sv))
	}
	l, err := lab.Up(up, options)
	if err != nil {
		return nil, err
	}
	t.lab = l
	result, err := t.play(ctx)
	err = errors.Join(err, t.saveLogs())
	down, done := context.WithTimeout(context.WithoutCancel(ctx), building)
	defer done()
	return result, errors.Join(err, l.Down(down))
}

func (t *trial) say(who, f string, args ...any) {
	t.telling.Lock()
	defer t.telling.Unlock()
	t.Tell(Line{At: time.Since(t.began), Who: who, Text: fmt.Sprintf(f, args...)})
}

// play is the run itself, in its order.
func (t *trial) play(ctx context.Context) (result *Result, err error) {
	h := &history.History{Form: history.Lab, Seed: t.Seed, Version: t.Version, Setup: t.setup()}
	t.journal = history.NewJournal(h)
	if err := t.observe(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.pcap.Close()) }()
	defer func() { _ = t.observer.Stop() }() // a run that came to its end has asked for the error itself
	t.sampler = &sampler{lab: t.lab, journal: t.journal, hosts: t.field.hosts, services: t.field.all(), tell: t.say, last: map[string]heard{}, leaving: t.leaving}
	if err := t.whole(ctx); err != nil {
		return nil, err
	}
	controls, err := t.observer.Controls(ctx, t.lab, foreign, other)
	if err != nil {
		return nil, err
	}
	t.journal.Do(func(h *history.History) { h.Controls, h.Began = controls, time.Now() })
	t.say("run", "the cluster is whole: %s; %d faults follow in %s", t.Shape(), len(t.Plan()), t.Duration)
	wrong := t.storm(ctx)
	if wrong != nil { // what was seen until then is judged all the same, and proves nothing more
		t.journal.Do(func(h *history.History) { h.Blind, h.Ended = append(h.Blind, wrong.Error()), time.Now() })
	}
	result, err = t.judge(context.WithoutCancel(ctx))
	return result, errors.Join(wrong, err)
}

func (t *trial) setup() history.Setup {
	s := history.Setup{Clients: places, Services: t.field.all(), Failover: 3 * t.Failover / 2, Initial: t.Failover, Resume: resumeTime, Settle: t.Settle, Rouse: rouse, Extra: extra}
	for _, name := range t.field.hosts {
		host := history.Host{Name: name, Sleeper: slices.Contains(t.field.sleepers, name)}
		if host.Sleeper {
			host.Alarm = t.LookAfter
		}
		s.Hosts = append(s.Hosts, host)
	}
	return s
}

// observe starts the watch at the switch.
func (t *trial) observe(ctx context.Context) error {
	ids := observer.ControlIdentities()
	for _, sv := range t.field.all() {
		ids = append(ids, observer.Identity{Service: sv.Name, MAC: mustMAC(sv.MAC), Addrs: sv.Addrs, Port: sv.Port})
	}
	f, err := os.Create(filepath.Join(t.Dir, pcapFile))
	if err != nil {
		return fmt.Errorf("keeping the frames: %w", err)
	}
	t.pcap = f
	if t.observer, err = observer.Start(ctx, t.lab, t.field.hosts, ids, f); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// whole waits until the cluster is founded, everybody is in touch, and every service is held.
func (t *trial) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, building, fmt.Errorf("not within %s", building))
	defer cancel()
	for {
		t.sampler.round(ctx, false)
		missing := t.missing()
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster did not come together: %s (%w)", missing, context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (t *trial) missing() string {
	all := t.sampler.fresh()
	for _, name := range t.field.hosts {
		st, ok := all[name]
		if !ok {
			return name + " does not answer"
		}
		if n := slices.IndexFunc(st.Nodes, func(n api.NodeStatus) bool { return !n.Alive || n.Power != "awake" }); n >= 0 {
			return fmt.Sprintf("%s says that %s is %s", name, st.Nodes[n].Name, st.Nodes[n].Power)
		}
		if len(st.Nodes) != len(t.field.hosts) || st.Leader == "" || len(st.Services) < len(t.field.services) {
			return fmt.Sprintf("%s knows %d hosts, leader %q", name, len(st.Nodes), st.Leader)
		}
		for _, sv := range st.Services {
			if sv.OwnerState != "serving" && sv.OwnerState != "holding" {
				return fmt.Sprintf("%s says that %s is %s at %q", name, sv.Name, sv.OwnerState, sv.Owner)
			}
		}
	}
	return ""
}

func (t *trial) writePlan() error {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return fmt.Errorf("making the run's folder: %w", err)
	}
	if there, err := os.ReadDir(t.Dir); err != nil || len(there) > 0 {
		return errors.Join(err, fmt.Errorf("the folder %s is not empty; give the run another with --dir", t.Dir))
	}
	p := Plan{Seed: t.Seed, Hosts: t.Hosts, Witnesses: t.Witnesses, LookAfter: t.LookAfter, Idle: t.Idle, Duration: t.Duration, Failover: t.Failover, Switch: t.Switch, Version: t.Version, Deeds: t.Plan()}
	return writeJSON(filepath.Join(t.Dir, PlanFile), p)
}

func writeJSON(path string, v any) error {
	body, err := json.MarshalIndent(v, "", " ")
	if err == nil {
		err = os.WriteFile(path, append(body, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// mustMAC reads one of the constants above.
func mustMAC(s string) net.HardwareAddr {
	mac, err := net.ParseMAC(s)
	if err != nil {
		panic("a constant is no MAC: " + s)
	}
	return mac
}

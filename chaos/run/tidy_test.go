package run

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
	"nightporter/chaos/lab"
	"nightporter/config"
)

func sec(s float64) time.Time {
	return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(s * float64(time.Second)))
}

func TestPowersAreReadFromTheLog(t *testing.T) {
	got := powers([]byte(`time=2026-01-01T12:00:01.500Z level=INFO msg=power host=h4 from=up to=asleep at=2026-01-01T12:00:01.500250Z
time=2026-01-01T12:00:02.000Z level=INFO msg="something else" host=h4 to=off
time=2026-01-01T12:00:03.000Z level=INFO msg=power host=c1 from=off to=up at=2026-01-01T12:00:03Z
nonsense msg=power host=h1
time=2026-01-01T12:00:04.000Z level=INFO msg=power host=h4 from=asleep to=resuming at=2026-01-01T12:00:04Z
`))
	want := []history.Power{{Host: "h4", At: sec(1.50025), State: history.Asleep}, {Host: "h4", At: sec(4), State: history.Resuming}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTidy(t *testing.T) {
	h := &history.History{
		Began: sec(0),
		Faults: []history.Fault{
			{Kind: history.Freeze, Host: "h1", From: sec(10), Took: sec(10.1), To: sec(20), Mute: true, Dark: true},
			{Kind: history.Clock, Host: "h2", From: sec(30), Took: sec(30.1), To: sec(40), Wall: time.Hour},
		},
		Powers: []history.Power{
			{Host: "h1", At: sec(10.05), State: history.Asleep}, {Host: "h1", At: sec(15), State: history.Resuming}, {Host: "h3", At: sec(50), State: history.Asleep},
		},
		Records: []history.Record{
			{Service: "web", Epoch: 1, By: "h2", At: sec(20)},
			{Service: "web", Epoch: 2, By: "h2", At: sec(35).Add(time.Hour)},
			{Service: "web", Epoch: 3, By: "h1", At: sec(36)},
		},
		Samples: []history.Sample{
			{At: sec(1), Host: "h1", Leader: "h2", Voters: []string{"x"}},
			{At: sec(2), Host: "h2", Leader: "h2", Voters: []string{"h1", "h2"}},
			{At: sec(50.3), Host: "h1", Leader: "h2", Voters: []string{"hearsay"}},
			{At: sec(50.4), Host: "h2", Leader: "h2", Voters: []string{"h2"}},
			{At: sec(60), Host: "h2", Leader: "h2", Voters: []string{"late"}},
		},
	}
	tidy(h)
	if !h.Faults[0].To.Equal(sec(15)) {
		t.Errorf("the freeze that somebody else ended ends at %v", h.Faults[0].To)
	}
	for i, want := range []time.Time{sec(20), sec(35), sec(36)} {
		if !h.Records[i].At.Equal(want) {
			t.Errorf("record %d is from %v, want %v", i, h.Records[i].At, want)
		}
	}
	want := []history.Suspend{{Host: "h3", At: sec(50), Voters: []string{"h1", "h2"}, After: []string{"h2"}}}
	if diff := cmp.Diff(want, h.Suspends); diff != "" {
		t.Error(diff)
	}
}

func TestLocalAddresses(t *testing.T) {
	const trie = "Local:\n  +-- 10.77.0.0/24 2 0 2\n     |-- 10.77.0.20\n        /32 host LOCAL\n     |-- 10.77.0.200\n        /32 link UNICAST\n"
	if !local(trie, "10.77.0.20") || local(trie, "10.77.0.200") || local(trie, "10.77.0.2") {
		t.Error("the host's own addresses are not told from others")
	}
}

func TestFieldsAreDistinct(t *testing.T) {
	for n := LeastHosts; n <= 2*MostHosts; n++ { // with witnesses from the most hosts on
		o := Options{Hosts: min(n, MostHosts), Witnesses: max(0, n-MostHosts-2), Seed: uint64(n)}
		f := fieldOf(o)
		shared := 0
		macs := map[string]bool{}
		for _, sv := range f.all() {
			if macs[sv.MAC] || len(sv.Targets) == 0 {
				t.Errorf("%d hosts: %+v", n, sv)
			}
			macs[sv.MAC] = true
			if sv.Mode == config.ModeAddress && sv.Founded {
				shared++
			}
			for _, target := range sv.Targets {
				if !slices.Contains(f.hosts, target) {
					t.Errorf("%d hosts: %s of %s is nobody", n, target, sv.Name)
				}
			}
		}
		if shared != 1 {
			t.Errorf("%d hosts: %d services that are always there are in mode address, want one of three", n, shared)
		}
		if len(f.sleepers) == 0 || len(f.hosts)-len(f.sleepers) < 1 || len(f.witnesses) != o.Witnesses {
			t.Errorf("%d hosts: %v sleep, %v are witnesses", n, f.sleepers, f.witnesses)
		}
		for _, k := range f.witnesses {
			if slices.ContainsFunc(f.all(), func(sv history.Service) bool { return slices.Contains(sv.Targets, f.hosts[k-1]) }) {
				t.Errorf("%d hosts, %d witnesses: h%d is one, and is to run a service", n, o.Witnesses, k)
			}
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Hosts: 5, Duration: time.Minute, Failover: time.Second, Switch: lab.SwitchUser}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Options){
		"1 hosts":        func(o *Options) { o.Hosts = 1 },
		"13 hosts":       func(o *Options) { o.Hosts = 13 },
		"of 3 hosts 2":   func(o *Options) { o.Hosts, o.Witnesses = 3, 2 },
		"whole shape":    func(o *Options) { o.Hosts, o.Witnesses = 0, 1 },
		"idle 1m0s":      func(o *Options) { o.Idle = time.Minute },
		"look-after 1.5": func(o *Options) { o.LookAfter = 1500 * time.Millisecond },
		"1s cannot":      func(o *Options) { o.Duration = time.Second },
		"failover 50ms":  func(o *Options) { o.Failover = 50 * time.Millisecond },
		"switch \"hub\"": func(o *Options) { o.Switch = "hub" },
	} {
		o := good
		spoil(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestReconsiderAndList(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "one")
	tr := &trial{Options: Options{Dir: run, Seed: 7, Hosts: 5, Duration: time.Minute, Failover: time.Second, Switch: lab.SwitchBridge}}
	if err := tr.writePlan(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Reconsider(run); err == nil || !strings.Contains(err.Error(), "--seed 7") {
		t.Errorf("a run without a history: %v", err)
	}
	if _, _, err := Reconsider(dir); err == nil || !strings.Contains(err.Error(), "no folder of a run") {
		t.Errorf("a folder of something else: %v", err)
	}
	all, err := List(dir)
	if err != nil || len(all) != 1 || all[0].Words() != "no verdict" {
		t.Errorf("%+v, %v", all, err)
	}
	h := &history.History{Form: history.Lab, Seed: 7, Began: sec(0), Ended: sec(60), Crashes: []string{"h1: panic: oh"}}
	if err := Save(run, &Result{History: h, Verdicts: check.Judge(h)}); err != nil {
		t.Fatal(err)
	}
	verdicts, o, err := Reconsider(run)
	if err != nil || check.OK(verdicts) || o.Seed != 7 || o.Hosts != 5 || o.Switch != lab.SwitchBridge {
		t.Errorf("%+v, %+v, %v", verdicts, o, err)
	}
	if all, err = List(dir); err != nil || len(all) != 1 || !strings.Contains(all[0].Words(), "closed-door") {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := os.Stat(filepath.Join(run, ReportFile)); err != nil {
		t.Error(err)
	}
	if all, err := List(filepath.Join(dir, "none")); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

// Without a number of hosts the seed chooses the shape, and all shapes come.
func TestASeedChoosesTheShape(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(200) {
		o := Options{Seed: seed, Duration: time.Minute, Failover: time.Second, Switch: lab.SwitchUser}
		if err := o.Check(); err != nil {
			t.Fatal(err)
		}
		o.drawShape()
		seen[o.Shape()]++
		again := Options{Seed: seed}
		if again.drawShape(); again.Shape() != o.Shape() {
			t.Errorf("seed %d makes %s, and %s", seed, o.Shape(), again.Shape())
		}
	}
	if len(seen) != 6 || seen["5 hosts"] < 50 {
		t.Error(seen)
	}
}

// What no run of a shape comes to is excused in that shape alone.
func TestWhatIsBeside(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want []string
	}{
		{Options{Hosts: 5}, []string{"last-net", "quorum-wake", "single-vote"}},
		{Options{Hosts: 5, LookAfter: 3 * time.Second}, []string{"quorum-wake", "single-vote"}},
		{Options{Hosts: 3}, []string{"last-net", "single-vote"}},
		{Options{Hosts: 3, Witnesses: 1, LookAfter: 3 * time.Second}, []string{"single-vote"}},
		{Options{Hosts: 2}, []string{"last-net", "quorum-wake", "steady-votes"}},
	} {
		if diff := cmp.Diff(tt.want, slices.Sorted(slices.Values(tt.o.beside()))); diff != "" {
			t.Errorf("%s: %s", tt.o.Shape(), diff)
		}
	}
}

package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
)

// Reconsider judges the run in a folder again, and gives the options that make its plan.
func Reconsider(dir string) ([]check.Verdict, Options, error) {
	p, err := readPlan(dir)
	if err != nil {
		return nil, Options{}, err
	}
	h, err := history.Read(filepath.Join(dir, HistoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Options{}, fmt.Errorf("the run in %s came to no history: it was interrupted, or its laboratory failed; make its plan again with --seed %d", dir, p.Seed)
	}
	if err != nil {
		return nil, Options{}, err
	}
	return check.Judge(h), Options{Hosts: p.Hosts, Witnesses: p.Witnesses, LookAfter: p.LookAfter, Idle: p.Idle, Duration: p.Duration, Seed: p.Seed, Failover: p.Failover, Switch: p.Switch, Deeds: p.Deeds}, nil
}

func readPlan(dir string) (Plan, error) {
	var p Plan
	path := filepath.Join(dir, PlanFile)
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("%s is no folder of a run: it has no %s", dir, PlanFile)
	}
	if err != nil {
		return p, fmt.Errorf("reading a run's plan: %w", err)
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("reading the plan %s: %w", path, err)
	}
	return p, nil
}

// Entry is one run in a list.
type Entry struct {
	Dir      string        `json:"dir"`
	Seed     uint64        `json:"seed"`
	Hosts    int           `json:"hosts"`
	Duration time.Duration `json:"duration_ns"`
	Version  string        `json:"version"`
	Ended    bool          `json:"ended"` // it came to a verdict
	OK       bool          `json:"ok"`
	Failed   []string      `json:"failed"` // the checks that did not pass
}

// Words says how a run ended.
func (e Entry) Words() string {
	switch {
	case !e.Ended:
		return "no verdict"
	case e.OK:
		return "kept"
	}
	return "not kept: " + strings.Join(e.Failed, ", ")
}

// List gives the runs whose folders are in a folder, by name.
func List(dir string) ([]Entry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return []Entry{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the runs in %s: %w", dir, err)
	}
	out := []Entry{}
	for _, sub := range entries {
		path := filepath.Join(dir, sub.Name())
		p, err := readPlan(path)
		if err != nil {
			continue // something else
		}
		e := Entry{Dir: path, Seed: p.Seed, Hosts: p.Hosts, Duration: p.Duration, Version: p.Version, Failed: []string{}}
		if err := e.verdict(path); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (e *Entry) verdict(dir string) error {
	body, err := os.ReadFile(filepath.Join(dir, VerdictFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var v struct {
		OK       bool
		Verdicts []check.Verdict
	}
	if err == nil {
		err = json.Unmarshal(body, &v)
	}
	if err != nil {
		return fmt.Errorf("reading the verdict in %s: %w", dir, err)
	}
	e.Ended, e.OK = true, v.OK
	for _, c := range v.Verdicts {
		if c.State != check.Passed {
			e.Failed = append(e.Failed, c.Check)
		}
	}
	return nil
}

package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"nightporter/chaos/check"
)

// Files in the folder of a run.
const (
	planFile    = "plan.json"
	historyFile = "history.json"
	verdictFile = "verdict.json"
	logFile     = "agents.log"
)

// Keep leaves a run in a folder: the plan, all that happened, what the checks say, and the agents' logs.
func (r *Result) Keep(dir string, verdicts []check.Verdict) error {
	log := strings.Join(r.Log(), "\n") + "\n"
	return errors.Join(
		KeepPlan(dir, r.Plan), keep(dir, historyFile, r.History), keep(dir, verdictFile, verdicts), write(dir, logFile, []byte(log)),
	)
}

// KeepPlan leaves the plan alone: a run that crashes leaves nothing else.
func KeepPlan(dir string, p Plan) error { return keep(dir, planFile, p) }

func keep(dir, name string, v any) error {
	body, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("keeping a run: %w", err)
	}
	return write(dir, name, append(body, '\n'))
}

func write(dir, name string, body []byte) error {
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), body, 0o644)
	}
	if err != nil {
		return fmt.Errorf("keeping a run: %w", err)
	}
	return nil
}

// LoadPlan reads the plan of a run that was kept.
func LoadPlan(dir string) (Plan, error) {
	var p Plan
	body, err := os.ReadFile(filepath.Join(dir, planFile))
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("reading the plan of a run: %w", err)
	}
	return p, nil
}

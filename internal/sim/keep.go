package sim

import (
	"encoding/json"
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
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keeping a run: %w", err)
	}
	for name, v := range map[string]any{planFile: r.Plan, historyFile: r.History, verdictFile: verdicts} {
		body, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			return fmt.Errorf("keeping a run: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(body, '\n'), 0o644); err != nil {
			return fmt.Errorf("keeping a run: %w", err)
		}
	}
	log := strings.Join(r.Log(), "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, logFile), []byte(log), 0o644); err != nil {
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

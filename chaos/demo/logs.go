package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// saveLogs copies the logs of a lab to a directory that outlives it, h1.log and so on, and names it.
func saveLogs(lab string) (string, error) {
	to, err := os.MkdirTemp("", "nightporter-demo-logs-")
	if err != nil {
		return "", fmt.Errorf("save the agents' logs: %w", err)
	}
	logs, _ := filepath.Glob(filepath.Join(lab, "hosts", "*", "agent.log")) // the pattern is a constant and sound
	own := filepath.Join(lab, "lab.log")
	var lost []error
	for _, path := range append(logs, own) {
		name := filepath.Base(filepath.Dir(path)) + ".log"
		if path == own {
			name = "lab.log"
		}
		body, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), body, 0o600)
		}
		if err != nil {
			lost = append(lost, fmt.Errorf("save the agents' logs: %w", err))
		}
	}
	return to, errors.Join(lost...)
}

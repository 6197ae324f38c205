package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"nightporter/chaos/check"
	chaosrun "nightporter/chaos/run"
)

// lab makes runs in the laboratory until see returns false.
func (s *search) lab(ctx context.Context, setting string, first, count uint64, see func(run) bool) error {
	for seed := first; seed < first+count && ctx.Err() == nil; seed++ {
		if !see(s.once(ctx, setting, seed)) {
			break
		}
	}
	return ctx.Err()
}

func (s *search) once(ctx context.Context, setting string, seed uint64) run {
	r := run{seed: seed}
	dir := filepath.Join(s.dir, fmt.Sprintf("chaos-%s-%d", setting, seed))
	if err := os.RemoveAll(dir); err != nil { // a verdict of an earlier campaign says nothing
		r.lost = err.Error()
		return r
	}
	cmd := exec.CommandContext(ctx, s.program, "chaos", "run", "--seed", fmt.Sprint(seed), "--hosts", fmt.Sprint(s.hosts), "--duration", s.duration.String(), "--dir", dir)
	cmd.Env = append(os.Environ(), setting)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it takes its laboratory down
	said, err := cmd.CombinedOutput()
	var v struct {
		OK       bool            `json:"ok"`
		Verdicts []check.Verdict `json:"verdicts"`
	}
	body, rerr := os.ReadFile(filepath.Join(dir, chaosrun.VerdictFile))
	if rerr == nil {
		rerr = json.Unmarshal(body, &v)
	}
	switch {
	case rerr != nil:
		r.lost = fmt.Sprintf("%v: %s", err, last(said, 300))
	case !v.OK:
		r.verdicts = v.Verdicts
	}
	return r
}

func last(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

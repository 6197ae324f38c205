package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// stuck is how long one schedule may take; most take less than a second.
const stuck = 3 * time.Minute

// simulate carries out schedules until see returns false. setting chooses the mistake.
func (s *search) simulate(ctx context.Context, setting string, first, count uint64, see func(run) bool) error {
	for next := first; next < first+count; {
		last, more, err := s.simulateFrom(ctx, setting, next, first+count-next, see)
		if err != nil || !more {
			return err
		}
		next = last + 1
	}
	return nil
}

// simulateFrom is one process of the simulation. It ends early when a schedule crashes it, or does not end; last is the seed
// that it came to.
func (s *search) simulateFrom(ctx context.Context, setting string, first, count uint64, see func(run) bool) (last uint64, more bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out := filepath.Join(s.dir, "sim-"+setting)
	cmd := exec.CommandContext(ctx, s.sim, "-test.run=^TestSchedules$", "-test.timeout=0")
	cmd.Dir = s.simDir
	cmd.Env = append(os.Environ(), setting, "SIM_TELL=1", "SIM_OUT="+out, fmt.Sprint("SIM_SEED=", first), fmt.Sprint("SIM_SEEDS=", count))
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return 0, false, fmt.Errorf("starting the simulation: %w", err)
	}
	tooLong := errors.New("it did not end")
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(pipe); in.Scan(); {
			lines <- in.Text()
		}
	}()
	watch := &watched{seed: first, dir: out, see: see}
	for open := true; open && err == nil; {
		select {
		case line, ok := <-lines:
			open = ok && watch.line(line)
		case <-time.After(stuck):
			err = tooLong
		}
	}
	stop()
	for range lines { // until it has ended
	}
	werr := cmd.Wait()
	switch {
	case watch.enough:
		return watch.seed, false, nil
	case err != nil || (werr != nil && watch.seed < first+count-1) || watch.open:
		return watch.seed, see(run{seed: watch.seed, lost: fmt.Sprint(errors.Join(err, werr))}), nil
	}
	return watch.seed, true, nil
}

// watched follows what a process of the simulation tells.
type watched struct {
	seed   uint64
	dir    string
	see    func(run) bool
	open   bool // the seed has begun, and nothing is known of it yet
	enough bool
}

// line takes one line; false: nothing more is wanted.
func (w *watched) line(text string) bool {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "seed":
		n, err := strconv.ParseUint(rest, 10, 64)
		if err != nil {
			return true
		}
		if w.open {
			w.enough = !w.see(run{seed: w.seed})
		}
		w.seed, w.open = n, true
	case "failed":
		var r run
		r.seed = w.seed
		body, err := os.ReadFile(filepath.Join(w.dir, fmt.Sprintf("seed-%d", w.seed), "verdict.json"))
		if err == nil {
			err = json.Unmarshal(body, &r.verdicts)
		}
		if err != nil {
			r.lost = err.Error()
		}
		w.open, w.enough = false, !w.see(r)
	case "PASS", "FAIL":
		if w.open {
			w.enough, w.open = !w.see(run{seed: w.seed}), false
		}
	}
	return !w.enough
}

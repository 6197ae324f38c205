package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
)

// timerSlack is how late the kernel may let a timer of the agent go off, in nanoseconds, to serve several at once
// (PR_SET_TIMERSLACK in prctl(2); the default is 50 µs). The shortest period here is the renewal of a lease at the shortest
// failover, 33 ms. It is not the agent's own timers that this calms but those of Go's runtime, whose monitor thread
// wakes every 20 µs while anything runs: more than half of all wake-ups of an idle agent.
const timerSlack = 4_000_000

// procs is how many processors the agent's own code uses at once while nothing waits in the kernel ($GOMAXPROCS has the last word): with
// more, each packet wakes threads that find nothing to do, and one is plenty for hundreds of leases.
const procs = 1

// collectAt is how much the heap may grow before it is collected, in percent of what is in use ($GOGC has the last word):
// gossip allocates 64 KiB for each packet that it waits for, and the heap is small.
const collectAt = 200

// keepQuiet makes an idle agent cost less. An agent that may not is only less quiet. waits is for what may wait in the kernel.
func keepQuiet() (waits func() (end func()), err error) {
	waits = func() func() { return func() {} }
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(procs)
		waits = newProcessors(procs).wait
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	// The threads that exist; those to come inherit it from the one that makes them.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return waits, err
	}
	var errs []error
	for _, t := range tasks {
		path := filepath.Join("/proc", t.Name(), "timerslack_ns")
		if err := os.WriteFile(path, []byte(strconv.Itoa(timerSlack)), 0); !errors.Is(err, os.ErrNotExist) { // it may have ended
			errs = append(errs, err)
		}
	}
	return waits, errors.Join(errs...)
}

package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

// How late the kernel may let a timer of the agent go off, to serve several at once (PR_SET_TIMERSLACK in prctl(2)). The shortest
// period here is the renewal of a lease at the shortest failover, 33 ms. It is not the agent's own timers that quietSlack calms but those
// of Go's runtime, whose monitor thread wakes every 20 µs while anything runs: more than half of all wake-ups of an idle agent.
//
// With several processors it will not do: a thread that looks for work sleeps for 3 µs before it takes what another one is about to
// run, and a message of a hand-over that waits there would be 4 ms late. promptSlack is the kernel's default.
const (
	quietSlack  = 4 * time.Millisecond
	promptSlack = 50 * time.Microsecond
)

// procs is how many processors the agent's own code uses at once while nothing waits in the kernel ($GOMAXPROCS has the last word): with
// more, each packet wakes threads that find nothing to do, and one is plenty for hundreds of leases.
const procs = 1

// keepQuiet makes an idle agent cost less. An agent that may not is only less quiet. waits is for what may wait in the kernel.
func keepQuiet() (waits func() (end func()), err error) {
	if os.Getenv("GOMAXPROCS") != "" {
		slack := promptSlack
		if runtime.GOMAXPROCS(0) == procs {
			slack = quietSlack
		}
		return func() func() { return func() {} }, setSlack(slack)
	}
	runtime.GOMAXPROCS(procs)
	return newProcessors(procs).wait, setSlack(quietSlack)
}

// setSlack sets the slack of all threads. Those to come inherit it from the one that makes them, which may be one that has not got it
// yet; so it looks until there are no new ones.
func setSlack(slack time.Duration) error {
	value := []byte(strconv.FormatInt(slack.Nanoseconds(), 10))
	done := make(map[string]bool)
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		var errs []error
		before := len(done)
		for _, t := range tasks {
			if done[t.Name()] {
				continue
			}
			done[t.Name()] = true
			if err := os.WriteFile(filepath.Join("/proc", t.Name(), "timerslack_ns"), value, 0); !errors.Is(err, os.ErrNotExist) { // it may have ended
				errs = append(errs, err)
			}
		}
		if err := errors.Join(errs...); err != nil || len(done) == before {
			return err
		}
	}
}

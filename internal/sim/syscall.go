package sim

import (
	"context"
	"time"
)

// syscall is one call of the daemon into its kernel. It takes a little time before and after it has its effect, now and then
// a long time, and the daemon may be stopped or killed in between.
func (l *life) syscall(f func() error) error {
	before, after := l.machine.w.callTime(), l.machine.w.callTime()
	if err := l.wait(before); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return l.wait(after)
}

// wait lets time pass for the daemon.
func (l *life) wait(d time.Duration) error {
	select {
	case <-time.After(d):
	case <-l.proc.Dead():
	}
	return l.proc.Gate(context.Background())
}

// callTime draws what half a kernel call takes: mostly some 20 µs; one in 200 takes milliseconds, as on a busy host.
func (w *world) callTime() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rng.IntN(200) == 0 {
		return time.Duration(w.rng.Int64N(int64(5 * time.Millisecond)))
	}
	return 10*time.Microsecond + time.Duration(w.rng.Int64N(int64(30*time.Microsecond)))
}

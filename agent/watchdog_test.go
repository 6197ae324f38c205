package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The service manager is told often enough while every loop goes round, not at all from the moment on at which one does not, and again when
// it does; the log says which one it was.
func TestTheWatchdogIsToldOnlyWhileAllLoopsGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int32
		var stuck atomic.Bool
		var log bytes.Buffer
		d := &watchdog{
			limit: 30 * time.Second, look: func() {}, log: slog.New(slog.NewTextHandler(&log, nil)), tell: func(s string) {
				if s != "WATCHDOG=1" {
					t.Errorf("the service manager was told %q", s)
				}
				told.Add(1)
			},
			roll: func() []rollCall {
				return []rollCall{{"service web", func() bool { return true }}, {"clocks", func() bool { return !stuck.Load() }}}
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.run(ctx) }()
		time.Sleep(5*time.Minute + time.Second)
		if n := told.Load(); n != 41 { // at the beginning, and four times in 30 s
			t.Errorf("it was told %d times in five minutes", n)
		}
		stuck.Store(true)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := told.Load(); n > 42 {
			t.Errorf("a loop was stuck, and it was told %d times", n-41)
		}
		if !strings.Contains(log.String(), "stuck=[clocks]") || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("the log has %q", log.String())
		}
		stuck.Store(false)
		before := told.Load()
		time.Sleep(time.Minute)
		if n := told.Load() - before; n < 8 {
			t.Errorf("all went round again, and it was told %d times in a minute", n)
		}
		stop()
		<-ended
	})
}

// lockless is a disk on which another agent runs.
type lockless struct{ Disk }

var errLocked = errors.New("another agent runs")

func (lockless) Lock() (io.Closer, error) { return nil, errLocked }

// A life begins with the word that it is there, before anything that can be slow; where nobody watches, with none.
func TestALifeBeginsWithASignOfIt(t *testing.T) {
	for limit, want := range map[time.Duration][]string{0: nil, time.Second: {"WATCHDOG=1"}} {
		var told []string
		err := Run(t.Context(), nil, Deps{Disk: lockless{}, Watchdog: limit, Ready: func(s string) { told = append(told, s) }})
		if !errors.Is(err, errLocked) || !slices.Equal(told, want) {
			t.Errorf("watched every %s, the service manager was told %q (%v), want %q", limit, told, err, want)
		}
	}
}

// A tenant that is stuck, or whose inbox is full, has not answered; it has when it goes on.
func TestAStuckTenantDoesNotAnswer(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		for _, fill := range []bool{false, true} {
			held, stuck := make(chan struct{}), make(chan struct{})
			one := w.hosts["a"].tenant
			ts := &tenants{all: map[string]*tenant{"web": one}}
			one.do(func() { close(held); <-stuck })
			<-held
			for fill && one.do(func() {}) {
			}
			roll := ts.callRoll()
			w.pass(time.Minute)
			if len(roll) != 1 || roll[0].answered() {
				t.Fatalf("a stuck tenant answered: %v", roll)
			}
			close(stuck)
			w.pass(time.Second)
			for range 2 { // the first one asks again where the inbox was full
				roll[0].answered()
				w.pass(time.Second)
			}
			if !roll[0].answered() {
				t.Error("a tenant that goes round has not answered")
			}
		}
	})
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"nightporter/login"
)

// Logind is systemd-logind as far as it suspends this host on somebody else's behalf.
type Logind interface {
	// Link listens to it; the error matches login.ErrNoLogind where there is no bus.
	Link(ctx context.Context) (LogindLink, error)
}

// LogindLink is a *login.Link.
type LogindLink interface {
	Events() <-chan login.Event // closed when the bus has ended
	DelayMax(ctx context.Context) (time.Duration, error)
	Delay(ctx context.Context, who, why string) (io.Closer, error)
	Close() error
}

// inhibitor holds logind's delay lock, so that a suspend which others start (a lid, a power key, a desktop, `systemctl suspend`) waits for
// the hand-over: it tells the sleeper by when that must have happened, and gives the lock back then at the latest. Nothing else depends
// on it: where the lock is not held such a suspend comes at once, and the fence meets it.
type inhibitor struct {
	self   string
	logind Logind // nil: a world without one
	press  func(within time.Duration)
	ease   func()
	late   func() // the lock is given back before the hand-over has ended
	log    *slog.Logger
	bell   bell // rung when the lock is wanted again

	mu    sync.Mutex
	lock  io.Closer
	aside bool   // it is not wanted: this host is on its way into a sleep
	due   bool   // somebody else suspends this host, and the lock is to be given back in time
	goes  bool   // logind is at it: it has said so, and not that it is over
	overs uint64 // how often it has said so, and then that it is over
	seen  watchman
}

// watchman is what is known of logind, for status.
type watchman struct {
	Absent  bool          // there is none
	Err     error         // why it cannot be asked
	Longest time.Duration // for which a suspend can be delayed; 0 = not known
}

const (
	// linkRetry is the pause before a bus that is not there, or has gone, is looked for again.
	linkRetry = 2 * time.Second
	// lockRetry is the pause after a lock that was not given: logind gives none while a suspend is under way.
	lockRetry = time.Second
	// linkLimit is for what logind answers at once or not at all.
	linkLimit = 5 * time.Second
)

// delayed is the part of logind's delay that the hand-over may take. The rest is for giving the lock back in time: logind puts its patience
// aside at the end of its own time, and a lock that is held until then makes it complain of this program in the log.
func delayed(longest time.Duration) time.Duration {
	return max(longest-max(longest/10, 250*time.Millisecond), longest/2)
}

var errBusEnded = errors.New("the connection to the bus has ended")

// run keeps the lock until ctx ends.
func (i *inhibitor) run(ctx context.Context) {
	if i.logind == nil {
		return
	}
	defer i.drop()
	for ctx.Err() == nil {
		err := i.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		i.note(0, err)
		select {
		case <-ctx.Done():
		case <-time.After(linkRetry):
		}
	}
}

// serve is the life of one connection.
func (i *inhibitor) serve(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, linkLimit)
	link, err := i.logind.Link(soon)
	cancel()
	if err != nil {
		return err
	}
	defer link.Close()
	defer i.drop() // who cannot hear what it is for does not hold it
	retry, limit := time.NewTimer(0), time.NewTimer(time.Hour)
	defer retry.Stop()
	defer limit.Stop()
	limit.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, open := <-link.Events():
			if !open {
				i.hear(login.Changed)
				return errBusEnded
			}
			if within := i.hear(e); within > 0 {
				limit.Reset(within)
			}
		case <-i.bell:
		case <-retry.C:
		case <-limit.C:
			i.expire()
		}
		if again := i.hold(ctx, link); again > 0 {
			retry.Reset(again)
		}
	}
}

// hear takes one event. It returns for how long a suspend that has just begun may be delayed; 0 = there is none to delay.
func (i *inhibitor) hear(e login.Event) (within time.Duration) {
	i.mu.Lock()
	held, longest := i.lock != nil, i.seen.Longest
	if i.goes && e == login.Resumed {
		i.overs++
	}
	i.goes = e == login.Sleeping
	i.mu.Unlock()
	switch {
	case e == login.Sleeping && held:
		within = delayed(longest)
		i.mu.Lock()
		i.due = true
		i.mu.Unlock()
		i.log.Info("somebody else suspends this host: it hands over first", "node", i.self, "within", within.String())
		i.press(within)
		return within
	case e == login.Sleeping: // the host's own sleep, or too late
		i.log.Debug("logind suspends this host", "node", i.self)
		return 0
	}
	if e == login.Changed {
		i.drop() // another logind may know it or not
	}
	i.mu.Lock()
	i.aside, i.due = false, false
	i.mu.Unlock()
	i.ease()
	return 0
}

// hold takes the lock if it is wanted and not held. It returns when to try again; 0 = not by itself.
func (i *inhibitor) hold(ctx context.Context, link LogindLink) time.Duration {
	i.mu.Lock()
	wanted := i.lock == nil && !i.aside
	i.mu.Unlock()
	if !wanted {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, linkLimit)
	defer cancel()
	longest, err := link.DelayMax(ctx)
	var lock io.Closer
	if err == nil {
		lock, err = link.Delay(ctx, "nightporter", "it hands its services over before this host sleeps")
	}
	i.note(longest, err)
	switch {
	case errors.Is(err, login.ErrNoLogind):
		return 0 // that it came is an event
	case err != nil:
		return lockRetry
	}
	i.mu.Lock()
	if i.aside { // the sleeper came in between
		defer lock.Close()
	} else {
		i.lock = lock
	}
	i.mu.Unlock()
	return 0
}

// note remembers what is known of logind, and says once what is wrong.
func (i *inhibitor) note(longest time.Duration, err error) {
	now := watchman{Longest: longest, Err: err}
	if errors.Is(err, login.ErrNoLogind) {
		now.Absent, now.Err = true, nil
	}
	i.mu.Lock()
	before := i.seen
	i.seen = now
	i.mu.Unlock()
	switch {
	case now.Err != nil && (before.Err == nil || before.Err.Error() != now.Err.Error()):
		i.log.Warn("a suspend that others start cannot be delayed for now", "node", i.self, "err", err)
	case now.Absent && !before.Absent:
		i.log.Info("there is no systemd-logind on this host: a suspend that others start comes at once", "node", i.self)
	case now.Err == nil && !now.Absent && (before.Err != nil || before.Longest != longest):
		i.log.Info("a suspend that others start waits for the hand-over", "node", i.self, "longest", longest.String())
	}
}

// expire gives the lock back because its time is over.
func (i *inhibitor) expire() {
	i.mu.Lock()
	late := i.lock != nil && i.due // it may be over, or another lock
	i.mu.Unlock()
	if late {
		i.late()
		i.stepAside()
	}
}

// drop gives the lock back.
func (i *inhibitor) drop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.lock != nil {
		_ = i.lock.Close() // of a pipe: what logind waits for happens in any case
		i.lock = nil
	}
}

// stepAside gives the lock back for the sleep that begins now. It never waits. It may be called on nil.
func (i *inhibitor) stepAside() {
	if i == nil {
		return
	}
	i.mu.Lock()
	i.aside, i.due = true, false
	i.mu.Unlock()
	i.drop()
}

// stepBack wants the lock again: the sleep is over, or was none.
func (i *inhibitor) stepBack() {
	if i == nil {
		return
	}
	i.mu.Lock()
	i.aside, i.due = false, false
	i.mu.Unlock()
	i.bell.ring()
}

// suspending says whether logind has begun a suspend, whoever asked for it, and has not said that it is over; and for how long locks like
// this one may hold it up.
func (i *inhibitor) suspending() (goes bool, longest time.Duration) {
	if i == nil {
		return false, 0
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.goes, i.seen.Longest
}

// ended is how many suspends logind has begun and ended, whatever came of them.
func (i *inhibitor) ended() uint64 {
	if i == nil {
		return 0
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.overs
}

// delay is what status shows: "held", "released", "none" or "unknown", with how long a suspend can be delayed, and why it is not known.
func (i *inhibitor) delay() (state string, longest time.Duration, why string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.logind == nil || i.seen.Absent:
		return "none", 0, ""
	case i.lock != nil:
		return "held", i.seen.Longest, ""
	case i.aside:
		return "released", i.seen.Longest, ""
	case i.seen.Err != nil:
		return "unknown", 0, i.seen.Err.Error()
	}
	return "unknown", 0, "it is being asked"
}

// problem is the sentence for status; usual is what a hand-over takes here.
func (i *inhibitor) problem(usual time.Duration) string {
	state, longest, why := i.delay()
	switch {
	case state == "unknown" && why != "it is being asked":
		return "a suspend of this host that others start (its lid, `systemctl suspend`) would come without a hand-over: " + why
	case (state == "held" || state == "released") && delayed(longest) < usual:
		return fmt.Sprintf("logind lets a suspend that others start wait for %s at most, and a hand-over takes about %s here: set InhibitDelayMaxSec=%ds in "+
			"/etc/systemd/logind.conf.d/nightporter.conf, below [Login], and restart systemd-logind", longest, usual.Round(100*time.Millisecond), int((2*usual).Seconds())+1)
	}
	return ""
}

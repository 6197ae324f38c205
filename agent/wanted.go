package agent

import (
	"context"
	"fmt"
	"time"

	"nightporter/idle"
	"nightporter/lease"
)

// fallsAsleep is how long the suspend itself may take, after the hand-over: an alarm that goes off before the host sleeps wakes nobody.
const fallsAsleep = 30 * time.Second

// grantedLasts is how long an answer with which this host wished to sleep counts for that sleep. Between the two are a proposal and its commit.
const grantedLasts = 30 * time.Second

// wakeAnswer is what this host's programs said of when they want it awake.
type wakeAnswer struct {
	wakeTime
	err error
	at  lease.Boot // when they were asked
}

// ask asks them. It may be called from anywhere, and remembers what they said.
func (a *alarm) ask(ctx context.Context) (wakeTime, error) {
	if a.times == nil {
		return wakeTime{}, nil
	}
	w, err := a.times(ctx, a.clock.Wall())
	if ctx.Err() == nil { // else they were cut off
		a.answer.Store(&wakeAnswer{w, err, a.clock.Boot()})
	}
	return w, err
}

// first is the first time at which this host is to be awake: one of its own, or what its programs said.
func (a *alarm) first(said wakeTime, wall time.Time) wakeTime {
	if at := idle.Next(a.moments, wall); !at.IsZero() && (said.at.IsZero() || at.Before(said.at)) {
		return wakeTime{at, "wake_at"}
	}
	return said
}

// within says whether a time comes before a while is over. One that has passed since it was found out is there already.
func (w wakeTime) within(d time.Duration, wall time.Time) bool {
	return !w.at.IsZero() && w.at.Sub(wall) <= d
}

// tooSoon is the sentence for one before which the host could not go to sleep and wake again.
func (w wakeTime) tooSoon() error {
	return fmt.Errorf("it is wanted at %s by %s, too soon for a sleep before that", w.at.Local().Format(time.DateTime), w.of)
}

// mayRest says, before this host wishes to sleep, why it is not to: something wants it in a moment, or it cannot be found out whether.
func (a *alarm) mayRest(ctx context.Context) error {
	a.granted.Store(nil)
	w, err := a.ask(ctx)
	if err != nil {
		return err
	}
	if _, err := a.afar(w); err != nil {
		return err
	}
	a.granted.Store(&wakeAnswer{wakeTime: w, at: a.clock.Boot()})
	return nil
}

// reckon finds out, before a sleep, when the host is wanted. What cannot be found out keeps it awake, and so does a time that is too near.
// Nobody is asked twice for a sleep that this host wished for by itself.
func (a *alarm) reckon(ctx context.Context) error {
	a.wanted = wakeTime{}
	g := a.granted.Swap(nil)
	if g == nil || a.clock.Boot().Sub(g.at) > grantedLasts {
		w, err := a.ask(ctx)
		if err != nil {
			return err
		}
		g = &wakeAnswer{wakeTime: w}
	}
	var err error
	a.wanted, err = a.afar(g.wakeTime)
	return err
}

// afar gives the first time, which must leave room for a hand-over and a suspend.
func (a *alarm) afar(said wakeTime) (wakeTime, error) {
	wall := a.clock.Wall().Local()
	w := a.first(said, wall)
	if w.within(a.handOver+a.falls, wall) {
		return wakeTime{}, w.tooSoon()
	}
	return w, nil
}

// soon says whether this host is wanted so soon that it could not fall asleep before.
func (a *alarm) soon() bool {
	wall := a.clock.Wall().Local()
	return a.first(a.wanted, wall).within(a.falls, wall)
}

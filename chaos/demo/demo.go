// Package demo tells the story that nightporter is there for, on a lab of four hosts: the host of a service sleeps, a
// client's connect() wakes it, the host that stood in dies, another one stands in, and a client wakes the target again.
// Every step waits for what it is about, within its own time; nothing is taken for granted because time has passed.
//
// Goroutines: one reads the capture at the switch (wire.go); Run waits for it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"nightporter/chaos/lab"
)

// The roles. The lab calls its hosts h1, h2, ... and derives their addresses; its last host is the target of "web".
const (
	service = "web"
	target  = "h4"
	client  = "c1"
	hosts   = 4
)

// What building the lab and taking it down may take.
const (
	building = 10 * time.Second
	goodbye  = 20 * time.Second
)

// Line is one line of the time-line. A line without Who is the heading of a part.
type Line struct {
	At   time.Duration `json:"at_ns"` // since the story began
	Who  string        `json:"who,omitempty"`
	Text string        `json:"text"`
}

// Options say how the story is told.
type Options struct {
	// Binary is the program that the lab runs; empty: the running one.
	Binary string
	// Failover is the cluster's setting; 0 = 1 s.
	Failover time.Duration
	// Tell gets every line when it has happened.
	Tell func(Line)
}

// Failure says which step did not go as it should have.
type Failure struct {
	Step string // the heading of the part
	Want string // what was expected, as a clause
	Seen string // what there was instead
	Logs string // where the agents' logs are; "" = they could not be saved
}

// Error is one sentence for a person.
func (f *Failure) Error() string {
	s := fmt.Sprintf("the demo failed in %q: expected that %s; seen: %s", f.Step, f.Want, f.Seen)
	if f.Logs != "" {
		s += "; the agents' logs are in " + f.Logs
	}
	return s
}

// step is one part of the story, with the time that it may take. The limits are several times what a part needs on two
// busy cores, and together a minute: they end a story that is stuck.
type step struct {
	title string
	limit time.Duration
	run   func(*story, context.Context) error
}

// The whole story.
func steps() []step {
	return []step{
		{"Four hosts meet", 15 * time.Second, (*story).meet},
		{"The target goes to sleep, a front stands in", 8 * time.Second, (*story).sleep},
		{"A client connects to the sleeping service", 10 * time.Second, (*story).wake},
		{"The target goes back to sleep", 8 * time.Second, (*story).sleep},
		{"The front loses its power", 5 * time.Second, (*story).kill},
		{"A client connects again", 10 * time.Second, (*story).wake},
		{"What the switch saw", 3 * time.Second, (*story).judge},
	}
}

// story is what the steps share.
type story struct {
	lab   *lab.Lab
	wire  *wire
	began time.Time
	tell  func(Line)

	web   identity
	front string // who holds while the target sleeps
	dead  string // who lost its power
}

// Run tells the story. An error is a *Failure, a *lab.NotAllowed, or says why the lab could not be built or taken down;
// ctx ends the story early. In every case the lab is gone when Run returns; of a failed one the logs are kept.
func Run(ctx context.Context, o Options) error { return run(ctx, o, steps()) }

func run(ctx context.Context, o Options, parts []step) error {
	s := &story{began: time.Now(), tell: o.Tell}
	up, cancel := context.WithTimeoutCause(ctx, building, fmt.Errorf("not within %v", building))
	defer cancel()
	l, err := lab.Up(up, lab.Options{Binary: o.Binary, Hosts: hosts, Failover: o.Failover, ResumeTime: time.Second})
	if err != nil {
		return err
	}
	s.lab = l
	err = s.play(ctx, parts)
	if ctx.Err() != nil { // what it made of the step that it met is no news
		err = fmt.Errorf("the demo was interrupted: %w", context.Cause(ctx))
	} else if f, failed := errors.AsType[*Failure](err); failed {
		var lost error
		f.Logs, lost = saveLogs(l.Dir())
		err = errors.Join(err, lost)
	}
	last, done := context.WithTimeoutCause(context.WithoutCancel(ctx), goodbye, fmt.Errorf("not within %v", goodbye))
	defer done()
	return errors.Join(err, l.Down(last))
}

// play carries out the steps with a watch at the switch.
func (s *story) play(ctx context.Context, parts []step) (err error) {
	if s.wire, err = watch(ctx, s.lab); err != nil {
		return err
	}
	defer func() { _ = s.wire.stop() }() // a story that came to its end has asked for the error itself
	for _, part := range parts {
		s.say(time.Now(), "", "%s", part.title)
		if err := s.carryOut(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) carryOut(ctx context.Context, part step) error {
	ctx, cancel := context.WithTimeoutCause(ctx, part.limit, fmt.Errorf("not within %v", part.limit))
	defer cancel()
	err := part.run(s, ctx)
	if f, failed := errors.AsType[*Failure](err); failed {
		f.Step = part.title
	}
	return err
}

// say tells what happened at a moment.
func (s *story) say(at time.Time, who, format string, args ...any) {
	s.tell(Line{At: at.Sub(s.began), Who: who, Text: fmt.Sprintf(format, args...)})
}

// door is where clients find the service.
func door() netip.AddrPort { return netip.AddrPortFrom(lab.ServiceAddr(), lab.ServerPort) }

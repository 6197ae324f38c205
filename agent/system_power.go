package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nightporter/config"
	"nightporter/login"
	"nightporter/wake"
)

// Suspend implements Power. Before it the kernel is told which suspend to choose, where the configuration says so.
func (p systemPower) Suspend(ctx context.Context) error {
	if k := p.cfg.Suspend; k == config.SuspendS2idle || k == config.SuspendDeep {
		if err := p.mem.Choose(string(k)); err != nil {
			return err
		}
	}
	return p.suspender.Suspend(ctx)
}

// Restore implements Power.
func (p systemPower) Restore() error { return p.mem.Restore() }

// sleepMode is what decides about waking from a sleep, whose name the canary's pass remembers; "" = not known.
func (p systemPower) sleepMode() string {
	if k := p.cfg.Suspend; k != config.SuspendOwn && k != config.SuspendDefault {
		return string(k)
	}
	return wake.SleepMode()
}

// Able implements Power.
func (p systemPower) Able(ctx context.Context) error { return able(ctx, p.cfg.Suspend) }

// canMethods are logind's questions, by the kind of sleep.
var canMethods = map[config.Suspend]string{
	config.SuspendDefault: "CanSuspend", config.SuspendS2idle: "CanSuspend", config.SuspendDeep: "CanSuspend",
	config.SuspendHibernate: "CanHibernate", config.SuspendHybrid: "CanHybridSleep", config.SuspendThenHibernate: "CanSuspendThenHibernate",
}

// able says why this host cannot sleep in a way: as the kernel tells, and logind, which looks at the swap and at systemd's own settings as
// well. Of a command of the host's own nothing is known before it is run. Where there is no logind the kernel's word is all there is.
func able(ctx context.Context, kind config.Suspend) error {
	method, known := canMethods[kind]
	if !known {
		return nil
	}
	if err := wake.CanSleep(string(kind)); err != nil {
		return err
	}
	l := &login.Logind{}
	defer l.Close()
	answer, err := l.Can(ctx, method)
	switch {
	case errors.Is(err, login.ErrNoLogind):
		return nil
	case err != nil:
		return fmt.Errorf("whether it can sleep is not known: %w", err)
	}
	return judged(method, answer)
}

// judged turns logind's answer into a sentence. An agent is root, so no password stands in its way.
func judged(method, answer string) error {
	switch answer {
	case "yes", "challenge":
		return nil
	case "na":
		return fmt.Errorf("systemd-logind says that this machine cannot do it (%s: na): its kernel, its firmware, or too little swap", method)
	}
	return fmt.Errorf("systemd-logind says that it may not (%s: %s)", method, answer)
}

// CannotSleep is one sentence about why this host cannot sleep in a way, or why that is not known; "" = it can.
func CannotSleep(kind config.Suspend) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := able(ctx, kind); err != nil {
		return err.Error()
	}
	return ""
}

// systemLogind is this host's own.
type systemLogind struct{}

// Link implements Logind.
func (systemLogind) Link(ctx context.Context) (LogindLink, error) {
	k, err := (&login.Logind{}).Link(ctx)
	if err != nil {
		return nil, err
	}
	return k, nil
}

package health

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// Systemd is the service manager of this host, over D-Bus. Each question is a connection of its own: none is kept that could go stale.
type Systemd struct {
	Socket string // of a manager's private bus; "" = the system's
}

func (s Systemd) connect(ctx context.Context) (*dbus.Conn, error) {
	var c *dbus.Conn
	var err error
	if s.Socket == "" {
		c, err = dbus.NewWithContext(ctx)
	} else {
		c, err = dbus.NewConnection(func() (*godbus.Conn, error) { return private(ctx, s.Socket) })
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("systemd does not answer: %w", ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("systemd cannot be reached on this host: %w", err)
	}
	return c, nil
}

// private is a connection without a bus in between: nobody says hello.
func private(ctx context.Context, socket string) (*godbus.Conn, error) {
	c, err := godbus.Dial("unix:path="+socket, godbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := c.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		_ = c.Close() // the other error counts
		return nil, err
	}
	return c, nil
}

// State tells what systemd calls the state of a unit: active, activating, inactive, failed and so on (systemd(1)). A unit that is not there
// is inactive.
func (s Systemd) State(ctx context.Context, unit string) (string, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	have, err := c.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return "", fmt.Errorf("systemd does not tell about it: %w", err)
	}
	state, _ := have["ActiveState"].(string)
	return state, nil
}

// Active wants a unit to be active. One that is starting, stopping or failed is not.
func (s Systemd) Active(ctx context.Context, unit string) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	have, err := c.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return fmt.Errorf("systemd does not tell about it: %w", err)
	}
	if have["LoadState"] == "not-found" {
		return fmt.Errorf("there is no such unit on this host")
	}
	if state := have["ActiveState"]; state != "active" {
		return fmt.Errorf("it is %v (%v)", state, have["SubState"])
	}
	return nil
}

// Start starts a unit and waits until that is done. One that runs already stays as it is.
func (s Systemd) Start(ctx context.Context, unit string) error {
	return s.job(ctx, "start", unit, (*dbus.Conn).StartUnitContext)
}

// Stop stops a unit and waits until that is done.
func (s Systemd) Stop(ctx context.Context, unit string) error {
	return s.job(ctx, "stop", unit, (*dbus.Conn).StopUnitContext)
}

func (s Systemd) job(ctx context.Context, what, unit string, ask func(*dbus.Conn, context.Context, string, string, chan<- string) (int, error)) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	done := make(chan string, 1)
	if _, err := ask(c, ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("systemd does not %s %s: %w", what, unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("systemd was to %s %s, and the job ended as %q: `systemctl status %s` says more", what, unit, result, unit)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("systemd has not managed to %s %s yet: %w", what, unit, ctx.Err())
	}
}

// Package login is the client of systemd-logind: who is logged in, which programs ask that this host does not sleep, whether it can
// sleep, and the lock that has logind wait for a moment before it suspends this host on somebody else's behalf.
//
// Everything goes over the system's bus (org.freedesktop.login1(5)). A host without logind is no failure: ErrNoLogind.
package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// The names of systemd-logind on the bus (org.freedesktop.login1(5)).
const (
	login1        = "org.freedesktop.login1"
	login1Path    = "/org/freedesktop/login1"
	login1Manager = "org.freedesktop.login1.Manager"
	login1Session = "org.freedesktop.login1.Session"
)

// systemBus is where the system's bus is unless the environment says otherwise (D-Bus specification).
const systemBus = "unix:path=/run/dbus/system_bus_socket"

// ErrNoLogind means that this host has no systemd-logind, or no system bus: nobody can take an inhibitor there.
var ErrNoLogind = errors.New("there is no systemd-logind on this host")

// Logind asks systemd-logind. Its connection is kept from look to look, and made anew when it broke.
type Logind struct {
	Address string // of a bus; "" = the system's

	mu   sync.Mutex
	conn *dbus.Conn
}

// Inhibition is a lock that a program took so that the host does not sleep.
type Inhibition struct {
	What, Who, Why string
	User, Process  uint32
}

// Blocks says whether the lock keeps this host from sleeping by itself.
func (i Inhibition) blocks(mode string) bool {
	if mode != "block" && mode != "block-weak" {
		return false
	}
	what := strings.Split(i.What, ":")
	return slices.Contains(what, "sleep") || slices.Contains(what, "idle")
}

// String says it for people.
func (i Inhibition) String() string {
	return fmt.Sprintf("%s blocks %s: %s", cmp.Or(i.Who, "a program without a name"), strings.ReplaceAll(i.What, ":", " and "), cmp.Or(i.Why, "it does not say why"))
}

// Inhibitions lists the locks that keep the host awake: those of mode block on sleep or idle. A delay lock only delays.
func (l *Logind) Inhibitions(ctx context.Context) ([]Inhibition, error) {
	var all []struct {
		What, Who, Why, Mode string
		User, Process        uint32
	}
	if err := l.ask(ctx, login1Path, login1Manager+".ListInhibitors", nil, &all); err != nil {
		return nil, fmt.Errorf("asking logind for inhibitors: %w", err)
	}
	var out []Inhibition
	for _, a := range all {
		i := Inhibition{a.What, a.Who, a.Why, a.User, a.Process}
		if i.blocks(a.Mode) {
			out = append(out, i)
		}
	}
	return out, nil
}

// Session is somebody who is logged in.
type Session struct {
	User  string
	Where string // a terminal, a seat, or the session's kind; "" = not known
	From  string // another host; "" = this one
	// Idle says that nothing was typed or clicked for a while; Graphical, that a desktop is what tells logind so.
	Idle, Graphical bool
}

// Sessions lists who is logged in: sessions of people (class user) that have not ended. What logind runs for a user without a login (lingering)
// is no session.
func (l *Logind) Sessions(ctx context.Context) ([]Session, error) {
	var all []struct {
		ID   string
		User uint32
		Name string
		Seat string
		Path dbus.ObjectPath
	}
	if err := l.ask(ctx, login1Path, login1Manager+".ListSessions", nil, &all); err != nil {
		return nil, fmt.Errorf("asking logind for sessions: %w", err)
	}
	var out []Session
	for _, s := range all {
		var have map[string]dbus.Variant
		err := l.ask(ctx, s.Path, "org.freedesktop.DBus.Properties.GetAll", []any{login1Session}, &have)
		if gone, ok := errors.AsType[dbus.Error](err); ok && (gone.Name == "org.freedesktop.DBus.Error.UnknownObject" || gone.Name == login1+".NoSuchSession") {
			continue // it ended between the two questions
		}
		if err != nil {
			return nil, fmt.Errorf("asking logind for session %s: %w", s.ID, err)
		}
		state, _ := have["State"].Value().(string)
		class, _ := have["Class"].Value().(string)
		if state == "closing" || !strings.HasPrefix(class, "user") {
			continue
		}
		word := func(key string) string { v, _ := have[key].Value().(string); return v }
		idle, _ := have["IdleHint"].Value().(bool)
		out = append(out, Session{User: s.Name, Where: cmp.Or(word("TTY"), word("Display"), s.Seat, word("Type")), From: word("RemoteHost"), Idle: idle, Graphical: slices.Contains([]string{"x11", "wayland", "mir"}, word("Type"))})
	}
	return out, nil
}

// Can asks for one of logind's judgements of this host, by the name of its method: CanSuspend, CanHibernate, CanHybridSleep,
// CanSuspendThenHibernate. It answers yes, no, challenge (after a password), or na: its kernel or its hardware cannot.
func (l *Logind) Can(ctx context.Context, method string) (answer string, err error) {
	if err := l.ask(ctx, login1Path, login1Manager+"."+method, nil, &answer); err != nil {
		return "", fmt.Errorf("asking logind for %s: %w", method, err)
	}
	return answer, nil
}

// ask calls a method and stores its one answer.
func (l *Logind) ask(ctx context.Context, path dbus.ObjectPath, method string, args []any, out any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && !l.conn.Connected() {
		l.drop()
	}
	if l.conn == nil {
		c, err := l.connect(ctx)
		if err != nil {
			return err
		}
		l.conn = c
	}
	err := call(ctx, l.conn, path, method, args, out)
	if err != nil && !isAnswer(err) {
		l.drop()
	}
	return err
}

// call asks over a connection.
func call(ctx context.Context, conn *dbus.Conn, path dbus.ObjectPath, method string, args []any, out any) error {
	err := conn.Object(login1, path).CallWithContext(ctx, method, 0, args...).Store(out)
	if e, ok := errors.AsType[dbus.Error](err); ok && (e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner") {
		return fmt.Errorf("%w: %w", ErrNoLogind, err)
	}
	return err
}

// isAnswer says whether an error is one that came over a connection that works.
func isAnswer(err error) bool {
	_, ok := errors.AsType[dbus.Error](err)
	return ok
}

// connect makes a connection within ctx, that outlives it.
func (l *Logind) connect(ctx context.Context, more ...dbus.ConnOption) (*dbus.Conn, error) {
	life, end := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, end)
	defer stop()
	c, err := dbus.Connect(cmp.Or(l.Address, os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), systemBus), append(more, dbus.WithContext(life))...)
	if err == nil {
		return c, nil
	}
	end()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNoLogind, err)
	}
	return nil, fmt.Errorf("the bus cannot be reached: %w", err)
}

// drop closes the connection. The caller holds mu.
func (l *Logind) drop() {
	if l.conn != nil {
		_ = l.conn.Close() // it is not used any more
		l.conn = nil
	}
}

// Close ends the connection.
func (l *Logind) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
	return nil
}

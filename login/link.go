package login

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
)

// Event is what logind says by itself.
type Event int

// The events.
const (
	Sleeping Event = iota + 1 // this host is suspended as soon as the locks of mode delay are given back, or their time is over
	Resumed                   // that is over: the host is back, or was never gone
	Changed                   // logind was started, or has ended
)

func (e Event) String() string {
	switch e {
	case Sleeping:
		return "sleeping"
	case Resumed:
		return "resumed"
	}
	return "changed"
}

// Link is a connection on which logind tells when this host is about to be suspended. It lasts until it is closed, or the bus ends.
type Link struct {
	conn   *dbus.Conn
	events chan Event
	end    chan struct{} // closed by Close
	ended  chan struct{} // nothing is passed on any more
}

// Link begins to listen. There is one where the bus is, whether logind is on it or not yet; without a bus the error is ErrNoLogind.
func (l *Logind) Link(ctx context.Context) (*Link, error) {
	conn, err := l.connect(ctx, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return nil, err
	}
	return listenOn(ctx, conn)
}

// listenOn makes a Link of a connection, which may have ended already: then raw is never closed, and nobody may wait for that.
func listenOn(ctx context.Context, conn *dbus.Conn) (*Link, error) {
	k := &Link{conn: conn, events: make(chan Event), end: make(chan struct{}), ended: make(chan struct{})}
	raw := make(chan *dbus.Signal)
	conn.Signal(raw)
	owner, err := k.listen(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening to logind: %w", err), conn.Close())
	}
	go k.pass(raw, owner)
	return k, nil
}

// listen asks the bus for what logind says, and for comings and goings of logind itself. It tells who is logind now, "" = nobody.
func (k *Link) listen(ctx context.Context) (owner string, err error) {
	for _, rule := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(login1), dbus.WithMatchInterface(login1Manager), dbus.WithMatchMember("PrepareForSleep")},
		{dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, login1)},
	} {
		if err := k.conn.AddMatchSignalContext(ctx, rule...); err != nil {
			return "", err
		}
	}
	err = k.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, login1).Store(&owner)
	if e, ok := errors.AsType[dbus.Error](err); ok && e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner" {
		return "", nil
	}
	return owner, err
}

// pass turns signals into events, in their order. A program that is not logind may send what it likes.
func (k *Link) pass(raw <-chan *dbus.Signal, owner string) {
	defer close(k.ended)
	defer close(k.events)
	for s := range raw {
		e := Event(0)
		switch {
		case s.Name == "org.freedesktop.DBus.NameOwnerChanged" && s.Sender == "org.freedesktop.DBus":
			var name, before string
			if dbus.Store(s.Body, &name, &before, &owner) != nil || name != login1 {
				continue
			}
			e = Changed
		case s.Name == login1Manager+".PrepareForSleep" && s.Sender == owner:
			var begins bool
			if dbus.Store(s.Body, &begins) != nil {
				continue
			}
			if e = Resumed; begins {
				e = Sleeping
			}
		default:
			continue
		}
		select {
		case k.events <- e:
		case <-k.end:
		}
	}
}

// Events are closed when the bus has ended.
func (k *Link) Events() <-chan Event { return k.events }

// Close ends it. Locks that were taken over it stay.
func (k *Link) Close() error {
	close(k.end)
	err := k.conn.Close()
	<-k.ended
	return err
}

// DelayMax is for how long a lock of mode delay delays at most (InhibitDelayMaxSec in logind.conf(5), 5 s by default).
func (k *Link) DelayMax(ctx context.Context) (time.Duration, error) {
	var us uint64
	if err := k.property(ctx, "InhibitDelayMaxUSec", &us); err != nil {
		return 0, fmt.Errorf("asking logind how long a suspend can be delayed: %w", err)
	}
	return time.Duration(min(us, uint64(time.Hour/time.Microsecond))) * time.Microsecond, nil
}

func (k *Link) property(ctx context.Context, name string, out any) error {
	var v dbus.Variant
	if err := call(ctx, k.conn, login1Path, "org.freedesktop.DBus.Properties.Get", []any{login1Manager, name}, &v); err != nil {
		return err
	}
	return v.Store(out)
}

// Delay takes the lock that has logind wait before a suspend (mode delay). It is given back by Close, and with the end of this process.
// While a suspend is under way logind refuses it.
func (k *Link) Delay(ctx context.Context, who, why string) (io.Closer, error) {
	var fd dbus.UnixFD
	if err := call(ctx, k.conn, login1Path, login1Manager+".Inhibit", []any{"sleep", who, why, "delay"}, &fd); err != nil {
		return nil, fmt.Errorf("asking logind for a lock that delays a suspend: %w", err)
	}
	return os.NewFile(uintptr(fd), "delay lock"), nil
}

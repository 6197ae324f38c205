package sim

import (
	"context"
	"io"
	"sync"
	"time"

	"nightporter/agent"
	"nightporter/login"
)

// logind suspends a machine on somebody else's behalf: it says so, waits until the locks are given back, for delayMost at most, and says
// when it is over.
type logind struct {
	mu       sync.Mutex
	links    map[*logindLink]bool
	locks    map[*logindLock]bool
	sleeping bool
}

// delayMost is InhibitDelayMaxSec's default.
const delayMost = 5 * time.Second

// lifeLogind is a machine's logind as one life of the daemon reaches it.
type lifeLogind struct{ life *life }

type logindLink struct {
	life   *life
	events chan login.Event
}

type logindLock struct{ life *life }

// gate carries out what the daemon asks of another program; a daemon that stands still asks when it goes on.
func (l *life) gate(f func() error) error {
	if err := l.proc.Gate(context.Background()); err != nil {
		return err
	}
	return f()
}

// Link implements agent.Logind.
func (l lifeLogind) Link(context.Context) (agent.LogindLink, error) {
	k := &logindLink{life: l.life, events: make(chan login.Event, 16)}
	g := &l.life.machine.logind
	return k, l.life.gate(func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.links == nil {
			g.links, g.locks = make(map[*logindLink]bool), make(map[*logindLock]bool)
		}
		g.links[k] = true
		return nil
	})
}

// Events implements agent.LogindLink.
func (k *logindLink) Events() <-chan login.Event { return k.events }

// DelayMax implements agent.LogindLink.
func (k *logindLink) DelayMax(context.Context) (time.Duration, error) {
	return delayMost, k.life.gate(func() error { return nil })
}

// Delay implements agent.LogindLink.
func (k *logindLink) Delay(context.Context, string, string) (io.Closer, error) {
	lock := &logindLock{k.life}
	return lock, k.life.gate(func() error {
		g := &k.life.machine.logind
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.sleeping {
			return errBusy
		}
		g.locks[lock] = true
		return nil
	})
}

// Close implements agent.LogindLink.
func (k *logindLink) Close() error {
	g := &k.life.machine.logind
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.links, k)
	return nil
}

// Close implements io.Closer.
func (l *logindLock) Close() error {
	g := &l.life.machine.logind
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.locks, l)
	return nil
}

// say tells every daemon that listens. One that is dead or stands still hears it, or not, when it goes on.
func (g *logind) say(e login.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sleeping = e == login.Sleeping
	for k := range g.links {
		select {
		case k.events <- e:
		default:
		}
	}
}

func (g *logind) delayed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.locks {
		if !l.life.dead() {
			return true
		}
	}
	return false
}

// lid is closed: the machine sleeps when its daemon has given its lock back, or logind has no patience any more. What it gives is as with sleep.
func (m *machine) lid() <-chan struct{} {
	m.logind.say(login.Sleeping)
	for end := time.Now().Add(delayMost); m.logind.delayed() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	awake := m.sleep()
	if awake == nil {
		m.logind.say(login.Resumed)
		return nil
	}
	up := make(chan struct{})
	m.w.running.Go(func() {
		defer close(up)
		<-awake
		m.logind.say(login.Resumed)
	})
	return up
}

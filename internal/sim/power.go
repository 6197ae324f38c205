package sim

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"nightporter/agent"
	"nightporter/chaos/history"
	"nightporter/wake"
)

// lifePower is the power supply as one life of the daemon reaches it.
type lifePower struct{ life *life }

// Arm implements agent.Power.
func (p lifePower) Arm() error { return p.life.syscall(func() error { return nil }) }

// Able implements agent.Power.
func (p lifePower) Able(context.Context) error { return p.life.syscall(func() error { return nil }) }

// Restore implements agent.Power: nothing was changed.
func (p lifePower) Restore() error { return p.life.syscall(func() error { return nil }) }

// WakeAddresses implements agent.Power.
func (p lifePower) WakeAddresses() ([]net.HardwareAddr, error) {
	return []net.HardwareAddr{p.life.machine.mac}, nil
}

// Sources implements agent.Power: this kernel does not tell.
func (p lifePower) Sources() map[string]uint64 { return nil }

// WakeFacts implements agent.Power: the machines are as they are for ever.
func (p lifePower) WakeFacts() (agent.WakeFacts, error) {
	return agent.WakeFacts{}, p.life.syscall(func() error { return nil })
}

// Refusals implements agent.Power: this kernel keeps nothing.
func (p lifePower) Refusals() wake.Refusals { return wake.Refusals{} }

// Halfway implements agent.Power: a sleep is one here.
func (p lifePower) Halfway() bool { return false }

// Resumes implements agent.Power. Who asks in the middle of a suspend is answered after it.
func (p lifePower) Resumes() (n uint64, counted bool) {
	err := p.life.syscall(func() error {
		m := p.life.machine
		m.mu.Lock()
		defer m.mu.Unlock()
		n = m.resumes
		return nil
	})
	return n, err == nil
}

var errBusy = errors.New("the suspend command ended with status 1: a device is busy")

// Suspend implements agent.Power: it returns after the resume.
func (p lifePower) Suspend(ctx context.Context) error {
	m := p.life.machine
	entry, fails := m.w.suspendEntry()
	select {
	case <-time.After(entry):
	case <-ctx.Done():
		return ctx.Err()
	case <-p.life.proc.Dead():
	}
	if err := p.life.proc.Gate(ctx); err != nil {
		return err
	}
	if fails {
		return errBusy
	}
	m.w.rec.suspend(m.name, p.life.disk.raft.voters())
	awake := m.sleep()
	if awake == nil {
		return errBusy // it is asleep already, by somebody else's hand
	}
	<-awake
	return p.life.proc.Gate(context.Background())
}

// sleep suspends the machine. The channel is closed when it is up again; nil: it was not up.
func (m *machine) sleep() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.power != history.Up {
		return nil
	}
	m.kernel.suspendEntry()
	if m.life != nil {
		m.life.doze()
	}
	m.clock.sleep()
	m.become(history.Asleep)
	m.plug()
	m.wakeup = make(chan string, 1)
	up := make(chan struct{})
	called, alarm := m.wakeup, m.rings()
	m.w.running.Go(func() {
		defer close(up)
		m.slumber(called, alarm)
	})
	return up
}

// SetAlarm implements agent.Power.
func (p lifePower) SetAlarm(in time.Duration) error {
	return p.life.syscall(func() error {
		m := p.life.machine
		m.mu.Lock()
		defer m.mu.Unlock()
		m.alarm = time.Time{}
		if in > 0 {
			m.alarm = time.Now().Add(in.Round(time.Second)) // it counts whole seconds, and true ones
		}
		return nil
	})
}

// AlarmTrouble implements agent.Power.
func (p lifePower) AlarmTrouble() string { return "" }

// rings gives a channel that gets a value when the alarm goes off; nil: none is set. The caller holds mu.
func (m *machine) rings() <-chan time.Time {
	if !m.alarm.After(time.Now()) {
		return nil // one that is over does not go off
	}
	return time.After(time.Until(m.alarm))
}

// slumber lasts until a magic packet, the power button or the alarm.
func (m *machine) slumber(called <-chan string, alarm <-chan time.Time) {
	select {
	case <-called:
	case <-alarm:
	case <-m.w.ending:
	}
	m.mu.Lock()
	if m.power != history.Asleep { // it lost its power meanwhile
		m.mu.Unlock()
		return
	}
	m.become(history.Resuming)
	m.mu.Unlock()
	resume, link, wrong := m.w.resumeTimes()
	<-time.After(resume)
	m.mu.Lock()
	if m.power != history.Resuming {
		m.mu.Unlock()
		return
	}
	m.clock.wake(wrong)
	m.resumes++
	m.become(history.Up)
	m.silent = link > 0
	m.plug()
	l := m.life
	m.mu.Unlock()
	if l != nil {
		l.rouse()
	}
	if link > 0 {
		time.AfterFunc(link, func() { m.carry(func() { m.silent = false }) })
	}
}

// call is a magic packet, or a finger on the power button. A machine that is not asleep does not care.
func (m *machine) call(by string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.power != history.Asleep {
		return
	}
	select {
	case m.wakeup <- by:
	default:
	}
}

// suspendEntry draws how long a suspend takes to begin, and whether it fails.
func (w *world) suspendEntry() (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return 10*time.Millisecond + time.Duration(w.rng.Int64N(int64(250*time.Millisecond))), w.rng.IntN(20) == 0
}

// resumeTimes draws how long a resume takes, how much later the network card has its link, and what CLOCK_BOOTTIME is wrong
// by afterwards.
func (w *world) resumeTimes() (resume, link, wrong time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	resume = 20*time.Millisecond + time.Duration(w.rng.Int64N(int64(resumeMost-20*time.Millisecond)))
	if w.rng.IntN(3) == 0 {
		link = time.Duration(w.rng.Int64N(int64(linkMost)))
	}
	if w.rng.IntN(2) == 0 {
		wrong = time.Duration(w.rng.Int64N(int64(2*time.Second))) - 1100*time.Millisecond
	}
	return resume, link, wrong
}

// Longest times of a resume.
const (
	resumeMost = 400 * time.Millisecond
	linkMost   = 2500 * time.Millisecond
)

// lifeCaller sends magic packets.
type lifeCaller struct{ life *life }

// Call implements agent.Caller. It does not wait: a stopped daemon's packets leave when it goes on.
func (c lifeCaller) Call(macs []net.HardwareAddr, _ []byte) error {
	macs = slices.Clone(macs)
	c.life.proc.When(func() { c.life.machine.w.lan.magic(c.life.machine, macs) })
	return nil
}

// Close implements agent.Caller.
func (c lifeCaller) Close() error { return nil }

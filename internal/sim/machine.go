package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"nightporter/agent"
	"nightporter/chaos/history"
	"nightporter/config"
	"nightporter/identity"
	"nightporter/internal/simnet"
	"nightporter/lease"
)

// machine is one simulated host. What it is made of outlives the daemon; what is in memory does not outlive a boot.
type machine struct {
	w       *world
	name    string
	addr    netip.Addr
	mac     net.HardwareAddr
	conf    *config.Config
	nic     *simnet.Host
	clock   *clock
	kernel  *kernel
	disease disease
	logind  logind

	mu      sync.Mutex
	power   history.PowerState
	linked  bool // the cable is in
	silent  bool // the card and the switch are still coming to terms after a resume
	alone   bool // the switch lets nothing through, though the carrier is there
	disk    *files
	table   lease.Table   // the mirror in the run directory
	mirror  bool          // it has one
	full    bool          // the run directory takes nothing
	estate  *agent.Estate // the note of a life that makes way for another program; it is read once
	life    *life
	locked  *life
	lives   int
	alarm   time.Time     // when the clock that runs through a sleep ends it; zero = it does not
	resumes uint64        // suspends that it came back from, in all boots
	wakeup  chan string   // magic packets and the power button, while asleep
	rest    time.Duration // pause before a daemon that ended is started again
	leaving bool          // somebody told the daemon to leave the cluster
	asking  int           // how many are telling it so right now: the next life may hear of it
	wanted  bool          // the service manager keeps the daemon running
	control *simnet.Process
	claimed map[string]bool // kinds of faults that are being done to it
}

// life is one run of the daemon.
type life struct {
	machine   *machine
	n         int
	proc      *simnet.Process
	clock     *lifeClock
	disk      *lifeDisk
	disturbed chan identity.Stir
	stop      context.CancelFunc
	former    *agent.Estate
	ended     chan struct{}
	replace   context.CancelCauseFunc
	asked     bool // to end
	replaced  bool // by another program
	asleep    bool // it stands still with its machine
}

func (l *life) dead() bool {
	select {
	case <-l.proc.Dead():
		return true
	default:
		return false
	}
}

// start starts the daemon, as the command does. A machine that is not up starts it when it is.
func (m *machine) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted = true
	if m.life != nil || m.power == history.Off {
		return
	}
	m.launch()
}

// startAgain is the service manager's: it does not start what somebody has ended since.
func (m *machine) startAgain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wanted && m.life == nil && m.power != history.Off {
		m.launch()
	}
}

// launch makes a life. The caller holds mu.
func (m *machine) launch() {
	m.lives++
	ctx, replace := context.WithCancelCause(context.Background())
	stop := func() { replace(nil) }
	l := &life{
		machine: m, n: m.lives, proc: m.nic.Process(), clock: &lifeClock{machine: m.clock}, disturbed: make(chan identity.Stir, 1),
		stop: stop, replace: replace, ended: make(chan struct{}), former: m.estate,
	}
	m.estate = nil
	l.disk = &lifeDisk{life: l, files: m.disk}
	m.life = l
	if m.power != history.Up {
		l.doze()
	}
	m.w.running.Go(func() { l.run(ctx) })
}

// run is the life of a daemon, up to what its end means.
func (l *life) run(ctx context.Context) {
	m := l.machine
	err := agent.Run(ctx, m.conf, l.deps())
	close(l.ended)
	_ = l.proc.Gate(context.Background()) // a process that is stopped does not end; one that is dead has
	if l.dead() {
		return
	}
	l.proc.Kill(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life == l {
		m.life = nil
	}
	left := err == nil && m.leaving
	m.leaving = m.leaving && (!left || m.asking > 0)
	if !l.asked && !left {
		why := "it returned without an error"
		if err != nil {
			why = err.Error()
		}
		m.w.rec.exit(m.name, why, errors.Is(err, syscall.ENOSPC)) // the service manager tries again
	}
	if m.wanted && !m.w.over() {
		rest := m.rest
		if l.replaced {
			rest = execTime
		}
		time.AfterFunc(rest, m.startAgain)
	}
}

// execTime is what an exec takes, up to the agent's first step.
const execTime = 30 * time.Millisecond

// deps is the world as this life of the daemon sees it.
func (l *life) deps() agent.Deps {
	log := slog.New(l.machine.w.rec.handler(l.machine.name))
	return agent.Deps{
		Version: "sim", Log: log, Clock: l.clock, Kernel: lifeKernel{l}, Power: lifePower{l}, Logind: lifeLogind{l}, Senses: l.senses(), Caller: lifeCaller{l}, Checks: lifeChecks{l},
		Listen: l.listen, Reach: lifeReach{l}, Net: lifeNet{l.proc}, Disk: l.disk, Former: l.former, Ready: func(string) {}, Watchdog: 0, // no service manager
	}
}

// end asks the daemon to end in good order.
func (m *machine) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted = false
	if m.life != nil {
		m.life.asked = true
		m.life.stop()
	}
}

// kill is SIGKILL, or, silently, the end of the power. What was not synced is lost.
func (m *machine) kill(silent bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted = false
	m.slay(silent)
}

// slay ends the life at once. The caller holds mu.
func (m *machine) slay(silent bool) {
	l := m.life
	if l == nil {
		return
	}
	m.life, m.locked, m.estate = nil, nil, nil // the note is for this process alone
	m.disk = m.disk.clone()                    // what the dead life still writes goes elsewhere
	l.asked = true
	l.proc.Kill(silent)
	l.stop()
	m.kernel.deafen(l)
}

// powerOff cuts the power: kernel and run directory are gone as well.
func (m *machine) powerOff() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted = false
	m.kernel.reset()
	m.w.rebooted(m.name)
	m.slay(true)
	m.become(history.Off)
	m.table, m.mirror, m.estate = lease.Table{}, false, nil
	m.plug()
}

// powerOn boots the machine.
func (m *machine) powerOn() {
	m.mu.Lock()
	off := m.power == history.Off
	if off {
		m.clock.restart()
		m.become(history.Up)
		m.plug()
	}
	m.mu.Unlock()
	m.start()
}

// pause is SIGSTOP, and resume is SIGCONT.
func (m *machine) pause() (resume func()) {
	m.mu.Lock()
	l := m.life
	m.mu.Unlock()
	if l == nil {
		return func() {}
	}
	l.clock.stop()
	l.proc.Stop()
	return func() {
		l.clock.goOn()
		l.proc.Continue()
	}
}

// doze makes a life stand still with its machine, until rouse. The caller holds the machine's mu.
func (l *life) doze() {
	l.asleep = true
	l.clock.stop()
	l.proc.Stop()
}

func (l *life) rouse() {
	if l.asleep {
		l.asleep = false
		l.clock.goOn()
		l.proc.Continue()
	}
}

// become notes what the machine is doing now. The caller holds mu.
func (m *machine) become(p history.PowerState) {
	if m.power != p {
		m.power = p
		m.w.rec.power(m.name, p)
	}
}

// plug brings the network card in line with power, cable and switch. The caller holds mu.
func (m *machine) plug() {
	m.nic.Up(m.power == history.Up && m.linked && !m.silent && !m.alone)
}

// link plugs the cable in or out.
func (m *machine) link(in bool) {
	m.carry(func() { m.linked = in })
}

// carry changes what the carrier hangs on; the kernel tells of it.
func (m *machine) carry(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	m.plug()
	if m.life != nil {
		select {
		case m.life.disturbed <- identity.Stir{All: true}:
		default:
		}
	}
}

// isolate has the switch let nothing through.
func (m *machine) isolate(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alone = on
	m.plug()
}

func (m *machine) carrier() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.linked && !m.silent
}

// use notes one frame of an identity that reaches the switch.
func (m *machine) use(service, words string) {
	if m.nic.IsUp() {
		m.w.rec.use(service, m.name, words)
	}
}

// lock is the file lock of the daemon.
func (m *machine) lock(l *life) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.dead() {
		return nil, simnet.ErrDead
	}
	if m.locked != nil {
		return nil, fmt.Errorf("another agent is running on %s: life %d", m.name, m.locked.n)
	}
	m.locked = l
	return closer(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.locked == l {
			m.locked = nil
		}
		return nil
	}), nil
}

type closer func() error

// Close implements io.Closer.
func (f closer) Close() error { return f() }

// forget puts the state of a daemon that left away.
func (m *machine) forget(l *life) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.dead() || m.life != l {
		return
	}
	m.disk.mu.Lock()
	kept := m.disk.rest()
	m.disk.mu.Unlock()
	m.disk = kept
}

func (m *machine) leaveEstate(l *life, e agent.Estate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !l.dead() {
		m.estate = &e
	}
}

// upgrade replaces the running program: the same process goes on with another one, which finds what was left open.
func (m *machine) upgrade() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life != nil {
		m.life.asked, m.life.replaced = true, true
		m.life.replace(agent.ErrReplaced)
	}
}

func (m *machine) loadTable() (lease.Table, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table, m.mirror
}

func (m *machine) saveTable(l *life, t lease.Table) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case l.dead():
		return simnet.ErrDead
	case m.full:
		return errMirror
	}
	m.table, m.mirror = t, true
	return nil
}

// runs says whether a daemon runs on the machine.
func (m *machine) runs() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.power == history.Up && m.life != nil
}

// ends says whether a daemon that was asked to end still runs.
func (m *machine) ends() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.life != nil && m.life.asked
}

// state is what the machine is doing.
func (m *machine) state() history.PowerState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.power
}

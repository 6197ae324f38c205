package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/mdlayher/wol"

	"nightporter/internal/labpage"
)

// node is one host or client inside the supervisor. One goroutine (run) owns everything in it; others hand it functions.
//
// The power states: off -> start -> up -> freeze -> asleep -> magic packet -> resuming -> up, and kill from any to off.
// Off and on again makes new namespaces, so nothing of the network's configuration survives, as on a real machine; the
// directory survives, as a disk does.
type node struct {
	plug
	sleeper bool
	bench   *bench
	log     *slog.Logger
	freezer *freezer

	calls chan func()
	woken chan string // from the wake logic: capacity 1, armed at most once at a time
	done  chan struct{}

	power   Power
	since   time.Time
	space   *space // nil when off
	nic     *nic   // nil unless asleep or resuming
	agent   *process
	server  *process
	resume  *time.Timer
	alarm   *time.Timer // of the host's clock; nil unless asleep with an alarm set
	sleeps  int
	wokenBy string
	card    Card          // lasts over kills and starts
	ignored atomic.Int64  // magic packets that did not wake it, because of card
	changed chan struct{} // closed at the next change of power

	page     *labpage.Page // nil when off, and for clients
	clock    ClockShift
	disk     DiskFault
	asleepAt time.Duration // by the machine's CLOCK_MONOTONIC
	slept    time.Duration // since the host was switched on
	resumes  uint64        // how many sleeps it has come back from since
	duty     *duty         // nil unless the agent is starved
	starved  bool          // the agent is stopped by the duty cycle
	claims   []Claim
}

// bench is what all nodes share.
type bench struct {
	options Options
	reaper  *reaper
	panel   *patchPanel
	fabric  fabric
	env     []string
}

func newNode(p plug, sleeper bool, group string, b *bench, log *slog.Logger) (*node, error) {
	n := &node{
		plug: p, sleeper: sleeper, bench: b, log: log.With("host", p.name),
		calls: make(chan func()), woken: make(chan string, 1), done: make(chan struct{}),
		power: PowerOff, since: time.Now(), changed: make(chan struct{}),
	}
	var err error
	n.freezer, err = newFreezer(group, p.name, func() string { return n.space.net })
	return n, err
}

// run owns the node until ctx ends, and then switches it off.
func (n *node) run(ctx context.Context) error {
	defer close(n.done)
	defer n.freezer.close()
	for {
		var resume <-chan time.Time
		if n.resume != nil {
			resume = n.resume.C
		}
		var turn <-chan time.Time
		if n.duty != nil {
			turn = n.duty.timer.C
		}
		select {
		case f := <-n.calls:
			f()
		case by := <-n.woken:
			n.magic(by)
		case <-n.ring():
			n.magic("the alarm of its clock")
		case <-turn:
			n.turn()
		case <-resume:
			n.resume = nil
			if err := n.thaw(); err != nil {
				n.log.Error("the host could not resume", "err", err)
			}
		case <-ctx.Done():
			_, err := n.kill()
			return err
		}
	}
}

var errEnding = errors.New("the lab is ending")

// do carries f out on the node's goroutine.
func (n *node) do(ctx context.Context, f func() error) error {
	result := make(chan error, 1)
	select {
	case n.calls <- func() { result <- f() }:
		return <-result
	case <-n.done:
		return errEnding
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (n *node) set(p Power) {
	from := n.power
	n.power, n.since = p, time.Now()
	n.log.Info("power", "from", from, "to", p, "at", n.since.Format(time.RFC3339Nano)) // the chaos harness reads this line
	close(n.changed)
	n.changed = make(chan struct{})
}

// await returns when want says yes to the power state. It runs on the caller's goroutine.
func (n *node) await(ctx context.Context, want func(Power) bool) error {
	for {
		var now Power
		var changed chan struct{}
		if err := n.do(ctx, func() error { now, changed = n.power, n.changed; return nil }); err != nil {
			return err
		}
		if want(now) {
			return nil
		}
		select {
		case <-changed:
		case <-n.done:
			return errEnding
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// boot switches the host on, or starts the agent again where only that is missing.
func (n *node) boot() error {
	switch {
	case n.power == PowerUp && n.runsAgent() && (n.agent == nil || !n.agent.running()):
		return n.startAgent()
	case n.power != PowerOff:
		return fmt.Errorf("%s is %s already", n.name, n.power)
	}
	s, err := newSpace(n.name)
	if err != nil {
		return err
	}
	n.space = s
	err = n.layPage()
	if err == nil {
		err = n.bench.fabric.plugIn(s, n.plug)
	}
	if err == nil {
		err = awaitLink(s, n.plug)
	}
	if err == nil && n.bench.panel.pulled(n.name) {
		err = setCarrier(n.name, false)
	}
	if err == nil && !n.client && !n.bench.options.NoServer {
		err = n.startServer()
	}
	if err == nil && n.runsAgent() {
		err = n.startAgent()
	}
	if err != nil {
		_, killErr := n.kill()
		return errors.Join(err, killErr)
	}
	n.set(PowerUp)
	return nil
}

func (n *node) runsAgent() bool { return !n.client && !n.bench.options.NoAgent }

// kill is a loss of power. The card goes silent first: the kernel closes the connections of a process that it kills, and
// no other host may hear of that.
func (n *node) kill() (time.Time, error) {
	if n.space == nil {
		return time.Now(), nil
	}
	var errs []error
	if n.nic == nil {
		errs = append(errs, silence(n.space, true))
	}
	at := time.Now()
	errs = append(errs, n.freezer.kill(), n.bench.fabric.unplug(n.plug))
	n.disarm()
	n.space.close()
	n.space, n.agent, n.server = nil, nil, nil
	errs = append(errs, n.feed(), n.dropPage())
	n.starved, n.claims = false, nil
	n.set(PowerOff)
	return at, errors.Join(errs...)
}

// disarm ends the wake logic and forgets what it has seen.
func (n *node) disarm() {
	if n.nic == nil {
		return
	}
	n.nic.close()
	n.nic = nil
	n.disarmClock()
	if n.resume != nil {
		n.resume.Stop()
		n.resume = nil
	}
	select {
	case <-n.woken:
	default:
	}
}

// freeze puts the host to sleep. The wake logic is armed first, so a magic packet that comes while the processes are being
// stopped is not lost; the card goes silent after them, as on a real machine, whose kernel still answers until then.
func (n *node) freeze() error {
	if n.power != PowerUp {
		return fmt.Errorf("%s is %s; only a host that is up can go to sleep", n.name, n.power)
	}
	card, err := armNIC(n.space, n.mac, n.card, func() { n.ignored.Add(1) }, func(by string) { n.woken <- by })
	if err != nil {
		return err
	}
	n.nic = card
	if err := n.freezer.freeze(); err != nil {
		n.disarm()
		return fmt.Errorf("put %s to sleep: %w", n.name, err)
	}
	if err := silence(n.space, true); err != nil {
		n.disarm()
		return errors.Join(fmt.Errorf("put %s to sleep: %w", n.name, err), n.freezer.thaw())
	}
	n.asleepAt = monotonic()
	n.sleeps++
	n.set(PowerAsleep)
	return n.arm()
}

// magic begins to resume.
func (n *node) magic(by string) {
	if n.power != PowerAsleep {
		return
	}
	n.disarmClock()
	n.wokenBy = by
	n.resume = time.NewTimer(n.bench.options.ResumeTime)
	n.set(PowerResuming)
}

// thaw ends the sleep: first the card, then the clocks and the processes. On a real machine too the kernel sends what it
// has to send before the first process runs.
func (n *node) thaw() error {
	n.disarm()
	err := silence(n.space, false)
	n.sleptOver()
	err = errors.Join(err, n.freezer.thaw(), n.goOn())
	n.set(PowerUp)
	return err
}

// setCard sets up the wake logic, for the next sleep.
func (n *node) setCard(c Card) error {
	switch {
	case n.client:
		return fmt.Errorf("%s is a client and never sleeps", n.name)
	case len(c.Password) != 0 && len(c.Password) != 6:
		return fmt.Errorf("a SecureOn password has 6 bytes, not %d", len(c.Password))
	}
	n.card = c
	return nil
}

// press is the power button.
func (n *node) press() error {
	if n.power != PowerAsleep {
		return fmt.Errorf("%s is %s, not asleep", n.name, n.power)
	}
	n.magic("power button")
	return nil
}

// sendMagic sends a magic packet for mac from this node, to every place at the switch.
func (n *node) sendMagic(mac net.HardwareAddr, password []byte) error {
	if n.power != PowerUp {
		return fmt.Errorf("%s is %s and cannot send a magic packet", n.name, n.power)
	}
	return n.space.do(func() error {
		eth, err := net.InterfaceByName(hostIface)
		if err != nil {
			return fmt.Errorf("send a magic packet: %w", err)
		}
		c, err := wol.NewRawClient(eth)
		if err != nil {
			return fmt.Errorf("send a magic packet: %w", err)
		}
		return errors.Join(c.WakePassword(mac, password), c.Close())
	})
}

package lab

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// duty is the duty cycle of an agent that is starved of the processor. The node's goroutine owns it; only its timer runs
// beside. Whether the agent is stopped just now is in node.starved, since that can outlive the cycle: the cycle may be
// ended while the host sleeps.
type duty struct {
	Starvation
	timer *time.Timer
}

// shortestPhase is the shortest time for which it makes sense to stop an agent or to let it run: the scheduler's ticks
// are 1 to 10 ms apart.
const shortestPhase = time.Millisecond

// starve begins or changes the duty cycle, and ends it with share 0.
func (n *node) starve(s Starvation) error {
	running := time.Duration(float64(s.Period) * (1 - s.Share))
	switch {
	case s.Share == 0:
		return n.feed()
	case !n.runsAgent():
		return fmt.Errorf("%s runs no agent that could be starved", n.name)
	case n.space == nil:
		return fmt.Errorf("%s is off; switch it on with `nightporter lab start %s`", n.name, n.name)
	case !(s.Share > 0 && s.Share < 1):
		return fmt.Errorf("the share of the time is %v; write one above 0 and below 1, or 0 to end it", s.Share)
	case running < shortestPhase || s.Period-running < shortestPhase:
		return fmt.Errorf("a period of %v is too short: both its parts must be at least %v", s.Period, shortestPhase)
	}
	if err := n.feed(); err != nil {
		return err
	}
	n.duty = &duty{Starvation: s, timer: time.NewTimer(running)}
	return nil
}

// turn is the next phase of the cycle. A host that sleeps stays as it is: SIGCONT could wake a process in it.
func (n *node) turn() {
	stopped := time.Duration(float64(n.duty.Period) * n.duty.Share)
	next, err := n.duty.Period-stopped, error(nil)
	switch {
	case n.power != PowerUp:
	case n.starved:
		err = n.goOn()
	default:
		next = stopped
		err = n.signalAgent(syscall.SIGSTOP)
		n.starved = err == nil
	}
	if err != nil {
		n.log.Warn("the agent could not be starved", "err", err)
	}
	n.duty.timer.Reset(next)
}

// goOn lets the agent run that the cycle has stopped.
func (n *node) goOn() error {
	if !n.starved {
		return nil
	}
	n.starved = false
	return n.signalAgent(syscall.SIGCONT)
}

// feed ends the cycle. The agent of a host that sleeps goes on with the resume.
func (n *node) feed() error {
	if n.duty == nil {
		return nil
	}
	n.duty.timer.Stop()
	n.duty = nil
	if n.power != PowerUp {
		return nil
	}
	return n.goOn()
}

// signalAgent sends a signal to the agent, if there is one.
func (n *node) signalAgent(sig syscall.Signal) error {
	if n.agent == nil || !n.agent.running() {
		return nil
	}
	if err := n.signal(sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

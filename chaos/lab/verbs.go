package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// serve answers the one request of a connection. A peer that goes away takes its request back.
func (s *supervisor) serve(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var q request
	files, err := receive(c, &q)
	if err != nil {
		s.log.Warn("a control connection made no sense", "err", err)
		return
	}
	defer closeAll(files)
	ending := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends when the connection is closed, by the peer or by this function
		_, _ = c.Read(make([]byte, 1))
		cancel()
	}()
	r, give, err := s.carryOut(ctx, q, files)
	switch {
	case err != nil && ending.Err() != nil: // not the words of what was interrupted
		r.Error = fmt.Sprintf("the lab ended during `lab %s`", q.Verb)
	case err != nil:
		r.Error = err.Error()
	}
	defer closeAll(give)
	if err := send(c, r, give); err != nil && ctx.Err() == nil {
		s.log.Warn("a control connection broke", "verb", q.Verb, "err", err)
	}
}

// carryOut does what a request says. The files it gives belong to the caller.
func (s *supervisor) carryOut(ctx context.Context, q request, files []*os.File) (response, []*os.File, error) {
	switch q.Verb {
	case "status":
		st, err := s.status(ctx)
		return response{Status: &st}, nil, err
	case "down":
		s.once.Do(func() { close(s.down) })
		return response{}, nil, nil
	case "cut":
		return response{}, nil, s.cut(q.Cut)
	case "heal":
		return response{}, nil, s.heal(q.Host)
	case "shape":
		return response{}, nil, s.shape(q.Shape)
	case "smooth":
		return response{}, nil, s.smooth(q.Host)
	case "tap":
		f, err := tapAll()
		return response{}, f, err
	}
	if q.Host == switchName {
		return s.inSwitch(ctx, q, files)
	}
	n, err := s.node(q.Host)
	if err != nil {
		return response{}, nil, err
	}
	return s.onNode(ctx, n, q, files)
}

func (s *supervisor) onNode(ctx context.Context, n *node, q request, files []*os.File) (r response, give []*os.File, err error) {
	switch q.Verb {
	case "kill":
		err = n.do(ctx, func() (err error) { r.At, err = n.kill(); return err })
	case "start":
		err = n.do(ctx, n.boot)
	case "freeze":
		err = n.do(ctx, n.freeze)
	case "press":
		err = n.do(ctx, n.press)
	case "suspend-self":
		if err = n.do(ctx, n.freeze); err == nil {
			err = n.await(ctx, func(p Power) bool { return p == PowerUp || p == PowerOff })
		}
	case "await-power":
		err = n.await(ctx, func(p Power) bool { return p == Power(q.Address) })
	case "wake":
		sender := s.nodes[s.bench.options.Hosts]
		err = sender.do(ctx, func() error { return sender.sendMagic(n.mac, q.Card.Password) })
	case "signal":
		err = n.do(ctx, func() error { return n.signal(syscall.Signal(q.Signal)) })
	case "await-agent":
		r.Code, err = n.awaitAgent(ctx)
	case "exec":
		r.Code, err = n.exec(ctx, q, files)
	case "socket":
		give, err = n.socket(ctx, q.Family, q.Kind, q.Signal)
	case "dial-unix":
		give, err = n.dialUnix(ctx, q.Address)
	default:
		r, err = onAilment(ctx, n, q)
	}
	return r, give, err
}

// onAilment carries out the verbs that make a host faulty.
func onAilment(ctx context.Context, n *node, q request) (r response, err error) {
	switch q.Verb {
	case "clock":
		err = n.do(ctx, func() error { return n.shiftClock(q.Clock) })
	case "disk":
		err = n.do(ctx, func() error { return n.ailDisk(q.Disk) })
	case "starve":
		err = n.do(ctx, func() error { return n.starve(q.Starve) })
	case "claim":
		err = n.do(ctx, func() error { return n.claim(q.Claim) })
	case "unclaim":
		err = n.do(ctx, n.unclaim)
	case "card":
		err = n.do(ctx, func() error { return n.setCard(q.Card) })
	case "wipe":
		err = n.do(ctx, n.wipe)
	case "damage":
		var d Damage
		err = n.do(ctx, func() (err error) { d, err = n.harm(q.Seed); return err })
		r.Damage = &d
	default:
		err = fmt.Errorf("the lab does not know %q: it was started by another version of nightporter", q.Verb)
	}
	return r, err
}

func (s *supervisor) status(ctx context.Context) (Status, error) {
	st := Status{Dir: s.bench.options.Dir, Freezer: "SIGSTOP", Limits: append([]string{}, s.limits...), Switch: s.bench.options.Switch}
	st.Cuts, st.Shapes = s.bench.panel.list()
	if s.group != "" {
		st.Freezer = "cgroup"
	}
	for _, n := range s.nodes {
		var h HostStatus
		if err := n.do(ctx, func() error { h = n.status(); return nil }); err != nil {
			return st, err
		}
		if n.client {
			st.Clients = append(st.Clients, h)
		} else {
			st.Hosts = append(st.Hosts, h)
		}
	}
	return st, nil
}

func (s *supervisor) cut(c Cut) error {
	if c.Cable && (c.To != "" || c.OneWay) {
		return errors.New("a pulled cable cuts one place from all others, in both directions")
	}
	if c.From == c.To {
		return fmt.Errorf("%s cannot be cut from itself", c.From)
	}
	for _, name := range []string{c.From, c.To} {
		if name == "" && c.From != "" {
			continue
		}
		if _, err := s.node(name); err != nil {
			return err
		}
	}
	return s.bench.panel.cut(c)
}

func (s *supervisor) heal(place string) error {
	if place != "" {
		if _, err := s.node(place); err != nil {
			return err
		}
	}
	return s.bench.panel.heal(place)
}

func (s *supervisor) shape(sh Shape) error {
	if err := sh.check(); err != nil {
		return err
	}
	for _, name := range []string{sh.From, sh.To} {
		if name == "" {
			continue
		}
		if _, err := s.node(name); err != nil {
			return err
		}
	}
	return s.bench.panel.shape(sh)
}

func (s *supervisor) smooth(place string) error {
	if place != "" {
		if _, err := s.node(place); err != nil {
			return err
		}
	}
	return s.bench.panel.smooth(place)
}

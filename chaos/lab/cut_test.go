package lab_test

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// reaches sends from one host to the other and to a third, and tells which of the two frames the switch gave out. The
// third is never cut off, so its frame says that the other one has been decided.
func reaches(t *testing.T, l *lab.Lab, c *lab.Capture, from, to, third *lab.Host) bool {
	t.Helper()
	s := newSender(t, from)
	mark := []byte(from.Name() + ">" + to.Name())
	arrived := false
	s.send(s.raw(from.MAC(), to.MAC(), append([]byte("probe "), mark...)))
	s.send(s.raw(from.MAC(), third.MAC(), append([]byte("fence "), mark...)))
	watch(limit(t), t, c, "", func(f lab.Frame) bool {
		if f.Port == to.Name() && f.ToHost && bytes.Contains(f.Data, append([]byte("probe "), mark...)) {
			arrived = true
		}
		return f.Port == third.Name() && f.ToHost && bytes.Contains(f.Data, append([]byte("fence "), mark...))
	})
	return arrived
}

func TestCutAndHeal(t *testing.T) { inBoth(t, lab.Options{Hosts: 3, NoAgent: true}, cutAndHeal) }

func cutAndHeal(t *testing.T, l *lab.Lab) {
	ctx := limit(t)
	c, err := l.Capture(ctx, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	h1, h2, h3, c1 := l.Host("h1"), l.Host("h2"), l.Host("h3"), l.Client(1)
	expect := func(when string, from, to *lab.Host, want bool) {
		t.Helper()
		if got := reaches(t, l, c, from, to, c1); got != want {
			t.Errorf("%s: %s reaches %s is %v, want %v", when, from.Name(), to.Name(), got, want)
		}
	}
	expect("whole", h1, h2, true)
	if err := l.Cut(ctx, lab.Cut{From: "h1", To: "h2"}); err != nil {
		t.Fatal(err)
	}
	expect("h1 <-> h2", h1, h2, false)
	expect("h1 <-> h2", h2, h1, false)
	expect("h1 <-> h2", h1, h3, true)
	if err := l.Cut(ctx, lab.Cut{From: "h3", To: "h1", OneWay: true}); err != nil {
		t.Fatal(err)
	}
	expect("h3 -> h1", h3, h1, false)
	expect("h3 -> h1", h1, h3, true)
	if err := l.Heal(ctx, "h2"); err != nil {
		t.Fatal(err)
	}
	expect("healed h2", h1, h2, true)
	expect("healed h2", h3, h1, false)
	if err := l.Heal(ctx, ""); err != nil {
		t.Fatal(err)
	}
	expect("healed", h3, h1, true)
}

func TestCutFromAllAndPulledCable(t *testing.T) {
	inBoth(t, lab.Options{Hosts: 2, NoAgent: true}, cutFromAllAndPulledCable)
}

func cutFromAllAndPulledCable(t *testing.T, l *lab.Lab) {
	ctx := limit(t)
	h1 := l.Host("h1")
	to := netip.AddrPortFrom(h1.Addr(), lab.ServerPort)
	carrier := func(want string) {
		t.Helper()
		eventually(t, "the carrier of h1 is "+want, func() bool {
			out, err := h1.Output(ctx, "cat", "/sys/class/net/eth0/carrier")
			return err == nil && out == want+"\n"
		})
	}
	for _, cut := range []lab.Cut{{From: "h1"}, {From: "h1", Cable: true}} {
		if err := l.Cut(ctx, cut); err != nil {
			t.Fatal(err)
		}
		if cut.Cable {
			carrier("0")
		} else {
			carrier("1")
		}
		done := make(chan error, 1)
		go func() {
			r, err := l.Client(1).Connect(ctx, to)
			t.Logf("%s: connected after %v", cut, r.Connected)
			done <- err
		}()
		s := newSender(t, l.Client(1))
		c, err := l.Capture(ctx, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		s.send(s.ping(h1))
		s.send(s.ping(l.Host("h2")))
		heard := watch(ctx, t, c, "", func(f lab.Frame) bool { return s.answers(f, l.Host("h2"), unix.ETH_P_IP) })
		if len(heard) != 0 {
			t.Errorf("%s: the client heard %d frames", cut, len(heard))
		}
		select {
		case err := <-done:
			t.Fatalf("%s: the connection did not wait (%v)", cut, err)
		default:
		}
		if err := l.Heal(ctx, "h1"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s, then healed: %v", cut, err)
		}
		carrier("1")
		if _, err := c.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestCutsThatMakeNoSense(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true})
	ctx := limit(t)
	for _, c := range []lab.Cut{{}, {To: "h1"}, {From: "h9"}, {From: "h1", To: "h9"}, {From: "h1", To: "h1"}, {From: "h1", To: "h2", Cable: true}} {
		if err := l.Cut(ctx, c); err == nil {
			t.Errorf("the cut %+v was made", c)
		}
	}
	if err := l.Heal(ctx, "h9"); err == nil {
		t.Error("a host that the lab does not have was healed")
	}
	st, err := l.Status(ctx)
	if err != nil || len(st.Cuts) != 0 {
		t.Errorf("afterwards there are cuts: %v (%v)", st.Cuts, err)
	}
}

package identity

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// other gives a host a second network card, to a network of its own, and watches what comes out there. Its name says the way.
func (l *lan) other(name string) (heard func(word string) int, mark func()) {
	l.t.Helper()
	far := newRoom(l.t, "far")
	var eye *packet.Conn
	far.do(func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "far0"}, PeerName: "eth1", PeerNamespace: netlink.NsFd(int(l.host[name].ns))}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		if err := up("far0"); err != nil {
			return err
		}
		ifi, err := net.InterfaceByName("far0")
		if err != nil {
			return err
		}
		eye, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	o := &observer{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 4096)
		for {
			n, _, err := eye.ReadFrom(buf)
			if err != nil {
				return
			}
			o.mu.Lock()
			o.frames = append(o.frames, seen{"a", append([]byte(nil), buf[:n]...), time.Now()})
			o.mu.Unlock()
		}
	}()
	l.t.Cleanup(func() { eye.Close(); <-ended })
	l.host[name].do(func() error {
		if err := errors.Join(give6("eth1", "10.201.0.11/24"), give6("eth1", "fd00:201::11/64")); err != nil {
			return err
		}
		eth1, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		for _, to := range []string{"10.201.0.12", "fd00:201::12"} {
			n := &netlink.Neigh{LinkIndex: eth1.Attrs().Index, IP: net.ParseIP(to), HardwareAddr: net.HardwareAddr{2, 0xbb, 0, 0, 0, 1}, State: netlink.NUD_PERMANENT}
			if err := netlink.NeighSet(n); err != nil {
				return err
			}
		}
		return nil
	})
	heard = func(word string) int {
		return o.count(func(s seen) bool { return says(word, unix.ETH_P_IP)(s) || says(word, unix.ETH_P_IPV6)(s) })
	}
	mark = func() {
		tag := fmt.Sprintf("mark %d", time.Now().UnixNano())
		l.host[name].do(func() error {
			return emit("eth1", append(append([]byte{2, 0xbb, 0, 0, 0, 1, 2, 0xaa, 0, 0, 0, 99, 0x88, 0xb5}, tag...), make([]byte, 40)...))
		})
		o.await(l.t, "a mark by the other card", func(s seen) bool { return len(s.data) > 14+len(tag) && string(s.data[14:14+len(tag)]) == tag })
	}
	return heard, mark
}

// strays opens sockets of the identity that speak to the other network, bound to its card or not.
func (r *room) strays(bound bool) []*net.UDPConn {
	r.t.Helper()
	var out []*net.UDPConn
	for from, to := range map[netip.Addr]string{ip0: "10.201.0.12:9", ip06: "[fd00:201::12]:9"} {
		d := net.Dialer{
			LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
			Control: func(_, _ string, c syscall.RawConn) (err error) {
				cerr := c.Control(func(fd uintptr) {
					if bound {
						err = unix.BindToDevice(int(fd), "eth1")
					}
					if from.Is4() {
						err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1))
					} else {
						err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1))
					}
				})
				return errors.Join(err, cerr)
			},
		}
		var c net.Conn
		r.do(func() (err error) {
			if c, err = d.Dial("udp", to); err != nil {
				c = nil
			}
			return nil // unreachable: it is refused from the start
		})
		if c != nil {
			r.t.Cleanup(func() { c.Close() })
			out = append(out, c.(*net.UDPConn))
		}
	}
	return out
}

// TestNothingByAnotherCard: what has ip0 as its source leaves by no other interface, open or not, here or not any more; sockets
// may be bound to that interface, made before or after.
func TestNothingByAnotherCard(t *testing.T) { inModes(t, nothingByAnotherCard) }

func nothingByAnotherCard(t *testing.T, spec, dual Spec) {
	l := newLAN(t, "a", "c")
	a, h := l.host["a"], l.kernel("a")
	heard, mark := l.other("a")
	free := append(a.strays(true), a.strays(false)...)
	chat(free, "before")
	mark()
	if heard("before") == 0 { // control: the eye sees such packets where nothing is known of the identity
		t.Error("the control is not heard")
	}
	p := l.prepare("a", h, dual)
	for _, state := range []struct {
		name string
		do   func() error
	}{
		{"prepared", func() error { return nil }},
		{"open", func() error { return p.openFor(time.Hour) }},
		{"closed", p.Close},
		{"removed", p.Remove},
	} {
		a.do(state.do)
		fresh := append(a.strays(true), a.strays(false)...)
		chat(append(fresh, free...), state.name)
		mark()
		if n := heard(state.name); n != 0 {
			t.Errorf("%d packets from ip0 left by the other card: %s", n, state.name)
		}
	}
	a.do(func() error { return h.Retain(nil) })
	chat(free, "forgotten")
	mark()
	if heard("forgotten") == 0 {
		t.Error("what is no service's any more is still kept from leaving")
	}
}

package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// Inquire asks the LAN at an interface who has some addresses, and listens for wait. It asks as Probe does, so it moves nobody's tables; no
// Host is needed. All that answer are told, members as well, each once; this host does not hear itself.
func Inquire(ctx context.Context, lower string, addrs []netip.Addr, wait time.Duration) ([]Foreign, error) {
	ifi, err := net.InterfaceByName(lower)
	if err != nil {
		return nil, fmt.Errorf("asking by %s: %w", lower, err)
	}
	conn, err := earFor(ifi, addrs)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var out []Foreign
	err = inquire(ctx, conn, ifi, addrs, wait, func(f Foreign) {
		if !bytes.Equal(f.MAC, ifi.HardwareAddr) && !slices.ContainsFunc(out, func(o Foreign) bool { return o.String() == f.String() }) {
			out = append(out, f)
		}
	})
	return out, err
}

// earFor hears who says that it has one of some addresses.
func earFor(ifi *net.Interface, addrs []netip.Addr) (*packet.Conn, error) {
	filter, err := claimsOf(addrs)
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket on %s (CAP_NET_RAW is needed): %w", ifi.Name, err)
	}
	return conn, nil
}

// inquire asks twice, since one frame may be lost, and tells of each answer.
func inquire(ctx context.Context, conn *packet.Conn, ifi *net.Interface, addrs []netip.Addr, wait time.Duration, tell func(Foreign)) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	end := time.Now().Add(wait)
	for _, until := range []time.Time{time.Now().Add(wait / 2), end} {
		for _, a := range addrs {
			frame, err := question(ifi.HardwareAddr, a)
			if err != nil {
				return err
			}
			if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])}); err != nil {
				return fmt.Errorf("probing for %s by %s: %w", a, ifi.Name, err)
			}
		}
		if err := hear(ctx, conn, ifi, until, addrs, tell); err != nil {
			return err
		}
	}
	return nil
}

// hear tells of answers until a moment.
func hear(ctx context.Context, conn *packet.Conn, ifi *net.Interface, until time.Time, addrs []netip.Addr, tell func(Foreign)) error {
	if err := conn.SetReadDeadline(until); err != nil {
		return fmt.Errorf("listening for answers: %w", err)
	}
	buf := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("listening for answers on %s: %w", ifi.Name, err)
		}
		if f, ok := claim(buf[:n]); ok && slices.Contains(addrs, f.IP) {
			f.MAC = bytes.Clone(f.MAC)
			tell(f)
		}
	}
}

// Ours says whether a link is an identity's.
func Ours(link string) bool { return strings.HasPrefix(link, linkPrefix) }

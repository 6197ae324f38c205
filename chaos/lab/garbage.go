package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"nightporter/config"
)

// Litter is one thing that a stranger sent.
type Litter struct {
	To      netip.AddrPort `json:"to"`
	Network string         `json:"network"` // udp or tcp
	Kind    string         `json:"kind"`    // what it is, such as "random bytes" or "gossip under another key"
	Bytes   int            `json:"bytes"`   // that were sent; over TLS, inside of it
	// End is how the other end took it: "" for a datagram, "closed", "reset", "unreachable", "no answer", "answered", or
	// the words of TLS.
	End string `json:"end,omitempty"`
}

const (
	// litterConnect is how long a stranger tries to connect, and litterAnswer how long it waits for what comes of it.
	litterConnect = time.Second
	litterAnswer  = 250 * time.Millisecond
	// strangers is how many things are under way at a time.
	strangers = 8
)

// Garbage sends n things from the place to the gossip and peer ports of all hosts in turn: random bytes, and almost right
// ones (gossip in the right framing under a wrong key, TLS with a wrong certificate, HTTP). The seed fixes the choice and
// the bytes, but for the keys of TLS. It gives what was sent, a host that does not answer is no error. The sockets are the
// place's, and this process writes to them.
func (l *Lab) Garbage(ctx context.Context, place string, seed uint64, n int) ([]Litter, error) {
	st, err := l.Status(ctx)
	if err != nil {
		return nil, err
	}
	cert, err := strangersCertificate()
	if err != nil {
		return nil, err
	}
	from := l.Host(place)
	chance := rand.New(rand.NewPCG(seed, 0))
	sent := make([]Litter, n)
	var work errgroup.Group
	work.SetLimit(strangers)
	var failed atomic.Pointer[error] // what the place itself cannot do, such as being off
	for i := range sent {
		litter, body := draw(chance, st.Hosts[i%len(st.Hosts)].Addr)
		sent[i] = litter
		work.Go(func() error {
			if ctx.Err() != nil || failed.Load() != nil {
				return nil
			}
			if err := from.litter(ctx, &sent[i], body, cert); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
			return nil
		})
	}
	_ = work.Wait() // none gives an error
	if err := failed.Load(); err != nil {
		return nil, fmt.Errorf("send garbage from %s: %w", place, *err)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("send garbage from %s: %w", place, context.Cause(ctx))
	}
	return sent, nil
}

// draw chooses what is sent to a host.
func draw(chance *rand.Rand, to netip.Addr) (Litter, []byte) {
	k := litterKinds[chance.IntN(len(litterKinds))]
	body := k.make(chance)
	return Litter{To: netip.AddrPortFrom(to, k.port), Network: k.network, Kind: k.kind, Bytes: len(body)}, body
}

// litter sends one thing. An error is one of the place itself.
func (h *Host) litter(ctx context.Context, it *Litter, body []byte, cert tls.Certificate) error {
	short, cancel := context.WithTimeout(ctx, litterConnect)
	defer cancel()
	f, err := h.dialSocket(ctx, it.Network, it.To)
	if err != nil {
		return err
	}
	defer f.Close()
	conn, err := connectFile(short, f, it.To)
	if err != nil {
		it.End, it.Bytes = "unreachable", 0
		return nil
	}
	defer conn.Close()
	if it.Kind == wrongCertificate {
		conn = tls.Client(conn, &tls.Config{
			InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
			// Shown although nobody asked for one by this authority.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
			NextProtos:           []string{"nightporter-raft/1", "nightporter-api/1"}, ServerName: "h1",
		})
	}
	if err := conn.SetDeadline(time.Now().Add(litterConnect)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	if it.Bytes, err = conn.Write(body); err != nil {
		it.End = ending(err)
		return nil
	}
	if it.Network == "udp" {
		return nil
	}
	if err := conn.SetReadDeadline(time.Now().Add(litterAnswer)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	_, err = conn.Read(make([]byte, 1))
	it.End = ending(err)
	return nil
}

// ending puts into a word how a connection ended.
func ending(err error) string {
	var words *net.OpError
	switch {
	case err == nil:
		return "answered"
	case errors.Is(err, io.EOF):
		return "closed"
	case errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE):
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer"
	case errors.As(err, &words) && words.Op == "remote error":
		return words.Err.Error()
	}
	return err.Error()
}

// The ports of the lab's configuration.
const (
	gossipPort = config.DefaultGossipPort
	peerPort   = config.DefaultPeerPort
)

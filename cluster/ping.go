package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// pingWait is how long one question waits. A LAN answers in a millisecond; a host that starts a program may need a hundred.
const pingWait = 400 * time.Millisecond

// pingTries is how often is asked: one datagram may be lost.
const pingTries = 3

// pingName begins the name of who asks: agents hear of it by the way, and let it in as little as any stranger, but it is no news.
const pingName = "doctor at "

// ErrNoAnswer means that nobody answered by gossip: the port is closed by a firewall, nobody listens there, or whoever does has another secret.
var ErrNoAnswer = errors.New("no answer")

// Ping asks agents by UDP whether gossip reaches them, from a port of its own: where both sides sent from the port of gossip, a firewall
// that keeps track of connections would take the question for the answer to one of theirs. It joins nobody, and nobody notes it. keys are the
// cluster's. The answers come in the order of the addresses: nil, ErrNoAnswer, or that nothing could be sent.
func Ping(ctx context.Context, keys Keys, from netip.Addr, to []netip.AddrPort) ([]error, error) {
	conf := memberlist.DefaultLANConfig()
	conf.Name = pingName + from.String()
	conf.BindAddr, conf.AdvertiseAddr = from.String(), from.String()
	conf.BindPort, conf.AdvertisePort = 0, 0
	ring, err := memberlist.NewKeyring(append([][]byte{keys.Gossip}, keys.GossipAlso()...), keys.Gossip)
	if err != nil {
		return nil, fmt.Errorf("making the ring of gossip's keys: %w", err)
	}
	conf.Keyring = ring
	conf.EnableCompression = false
	conf.ProbeTimeout, conf.ProbeInterval = pingWait, 2*pingWait
	conf.Logger = log.New(io.Discard, "", 0)
	own, err := listenPackets(netip.AddrPortFrom(from, 0), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, fmt.Errorf("opening a socket at %s: %w", from, err)
	}
	conf.Transport = own
	list, err := memberlist.Create(conf)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening gossip for a question: %w", err), own.Shutdown())
	}
	out := make([]error, len(to))
	done := make(chan struct{})
	for i, addr := range to {
		go func() {
			out[i] = pingOne(ctx, list, addr)
			done <- struct{}{}
		}()
	}
	for range to {
		<-done
	}
	return out, list.Shutdown()
}

func pingOne(ctx context.Context, list *memberlist.Memberlist, to netip.AddrPort) error {
	for range pingTries {
		_, err := list.Ping("", net.UDPAddrFromAddrPort(to)) // whoever is there
		_, silent := errors.AsType[memberlist.NoPingResponseError](err)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !silent:
			return fmt.Errorf("sending a datagram to %s: %w", to, err)
		}
	}
	return ErrNoAnswer
}

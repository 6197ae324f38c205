package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The two protocols on the peer port, told apart by ALPN.
const (
	protoRaft = "nightporter-raft/1"
	protoAPI  = "nightporter-api/1"
)

const (
	handshakeLimit = 5 * time.Second  // a peer that is slower is dropped
	handshakesMost = 64               // under way at once; more wait in the kernel's queue
	handshakesEach = 8                // under way at once from one address, so that a stranger cannot use up all of them
	complainEvery  = 10 * time.Second // at most, about one peer
)

// Directory knows who is who.
type Directory interface {
	Impostor(node, pin string) string // why the host with that key is not the node, "" = nothing is known against it
	Stranger(node string) string      // why it is not to be talked to, "" = it may be one of ours
	Addr(node string) (netip.AddrPort, bool)
}

// Transport is the authenticated stream between nodes: mutual TLS 1.3. A peer must have a certificate of the cluster's
// authority, in the name of the node that was dialled, over the very key that is pinned for that node.
type Transport struct {
	id       *Identity
	dir      Directory
	log      *slog.Logger
	listener net.Listener
	reach    Dial
	raft     *queue
	api      *queue
	slots    chan struct{}
	running  sync.WaitGroup
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc

	mu         sync.Mutex
	complained often
	open       map[*keptConn]struct{} // all connections, so that Close ends them; nil once closed
	shaking    map[netip.Addr]int     // handshakes under way, by address
}

// Listen opens the peer port.
func Listen(bind netip.AddrPort, id *Identity, dir Directory, log *slog.Logger) (*Transport, error) {
	l, err := net.Listen("tcp", bind.String())
	if err != nil {
		return nil, fmt.Errorf("opening the peer port %s (is another agent running, or peer_port taken?): %w", bind, err)
	}
	return NewTransport(l, new(net.Dialer).DialContext, id, dir, log), nil
}

// Dial opens a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// NewTransport is Listen over connections of another kind; their addresses are *net.TCPAddr too. It owns the listener.
func NewTransport(l net.Listener, dial Dial, id *Identity, dir Directory, log *slog.Logger) *Transport {
	t := &Transport{
		id: id, dir: dir, log: log, listener: l, reach: dial, slots: make(chan struct{}, handshakesMost),
		complained: often{every: complainEvery}, open: make(map[*keptConn]struct{}), shaking: make(map[netip.Addr]int),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.raft, t.api = newQueue(t, l.Addr()), newQueue(t, l.Addr())
	t.running.Go(t.accept)
	return t
}

// Port is where the transport listens.
func (t *Transport) Port() netip.AddrPort {
	a, _ := netip.ParseAddrPort(t.listener.Addr().String())
	return a
}

func (t *Transport) accept() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond): // out of descriptors: the next try may go better
				continue
			}
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !t.mayShake(from, 1) {
			conn.Close()
			continue
		}
		select {
		case t.slots <- struct{}{}:
		case <-t.ctx.Done():
			conn.Close()
			return
		}
		t.running.Go(func() {
			defer func() {
				<-t.slots
				t.mayShake(from, -1)
			}()
			t.welcome(conn, from)
		})
	}
}

// welcome checks who calls and hands the connection to whom it is for.
func (t *Transport) welcome(raw net.Conn, from netip.Addr) {
	kept, ok := t.keep(raw)
	if !ok {
		return
	}
	conn := tls.Server(kept, t.config("", protoRaft, protoAPI))
	ctx, cancel := context.WithTimeout(t.ctx, handshakeLimit)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		kept.Close()
		if errors.Is(err, io.EOF) { // it looked whether the port is open, as doctor does
			t.log.Debug("a peer hung up", "peer", from)
			return
		}
		t.complain(from, "a peer was refused", explain(err))
		return
	}
	q := t.raft
	if conn.ConnectionState().NegotiatedProtocol == protoAPI {
		q = t.api
	}
	select {
	case q.conns <- conn:
	case <-q.closed:
		conn.Close()
	case <-ctx.Done():
		conn.Close()
	}
}

// mayShake counts the handshakes of one address up or down.
func (t *Transport) mayShake(from netip.Addr, by int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if by > 0 && t.shaking[from] >= handshakesEach {
		return false
	}
	if t.shaking[from] += by; t.shaking[from] == 0 {
		delete(t.shaking, from)
	}
	return true
}

// keptConn leaves the transport's list when it is closed.
type keptConn struct {
	net.Conn
	t *Transport
}

// Close implements net.Conn.
func (c *keptConn) Close() error {
	c.t.mu.Lock()
	delete(c.t.open, c)
	c.t.mu.Unlock()
	return c.Conn.Close()
}

// keep remembers a connection, so that Close ends it. False: the transport is closed, and so is the connection.
func (t *Transport) keep(raw net.Conn) (net.Conn, bool) {
	c := &keptConn{raw, t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		raw.Close()
		return nil, false
	}
	t.open[c] = struct{}{}
	return c, true
}

// complain logs a refusal, but not each of a persistent peer.
func (t *Transport) complain(who netip.Addr, what string, err error) {
	if t.ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	again := t.complained.again(who.String())
	t.mu.Unlock()
	if !again {
		t.log.Warn(what, "peer", who, "err", err)
	}
}

// dial reaches a node.
func (t *Transport) dial(ctx context.Context, node, proto string) (net.Conn, error) {
	addr, ok := t.dir.Addr(node)
	if !ok {
		return nil, fmt.Errorf("the address of %s is not known", node)
	}
	raw, err := reachAgain(ctx, t.reach, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("reaching %s at %s: %w", node, addr, err)
	}
	kept, ok := t.keep(raw)
	if !ok {
		return nil, fmt.Errorf("reaching %s at %s: %w", node, addr, net.ErrClosed)
	}
	conn := tls.Client(kept, t.config(node, proto))
	if err := conn.HandshakeContext(ctx); err != nil {
		kept.Close()
		err = explain(err)
		t.complain(addr.Addr(), "a peer was not trusted", err)
		return nil, fmt.Errorf("reaching %s at %s: %w", node, addr, err)
	}
	return conn, nil
}

// DialAPI reaches a node's admin surface.
func (t *Transport) DialAPI(ctx context.Context, node string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	return t.dial(ctx, node, protoAPI)
}

// APIListener takes the connections of peers to the admin surface.
func (t *Transport) APIListener() net.Listener { return t.api }

// RaftLayer is what Raft's network transport runs over. A raft.ServerAddress is a node's name.
func (t *Transport) RaftLayer() raft.StreamLayer { return newRaftLayer(t) }

// PeerName is the name in the peer's certificate, "" for another kind of connection.
func PeerName(c net.Conn) string {
	conn, ok := c.(*tls.Conn)
	if !ok {
		return ""
	}
	chain := conn.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return ""
	}
	return chain[0].Subject.CommonName
}

// Close ends everything and waits. Connections that were handed out end too.
func (t *Transport) Close() error {
	t.mu.Lock()
	open := t.open
	t.open = nil
	t.mu.Unlock()
	if open == nil {
		t.running.Wait()
		return nil
	}
	t.cancel()
	err := t.listener.Close()
	for c := range open {
		c.Conn.Close()
	}
	t.running.Wait()
	return err
}

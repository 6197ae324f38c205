package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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
	handshakeLimit = 5 * time.Second // a peer that is slower is dropped
	handshakesMost = 64              // under way at once; more wait in the kernel's queue
	complainEvery  = 10 * time.Second
)

// Directory knows who is who.
type Directory interface {
	Pin(node string) (pin string, known bool)
	Addr(node string) (netip.AddrPort, bool)
}

// Transport is the authenticated stream between nodes: mutual TLS 1.3. A peer must have a certificate of the cluster's
// authority, in the name of the node that was dialled, over the very key that is pinned for that node.
type Transport struct {
	id       *Identity
	dir      Directory
	log      *slog.Logger
	listener net.Listener
	raft     *queue
	api      *queue
	slots    chan struct{}
	running  sync.WaitGroup
	closed   chan struct{}
	once     sync.Once

	mu         sync.Mutex
	complained map[string]time.Time // by peer: complaints are not repeated at once
	open       map[net.Conn]struct{}
}

// Listen opens the peer port.
func Listen(bind netip.AddrPort, id *Identity, dir Directory, log *slog.Logger) (*Transport, error) {
	l, err := net.Listen("tcp", bind.String())
	if err != nil {
		return nil, fmt.Errorf("opening the peer port %s (is another agent running, or peer_port taken?): %w", bind, err)
	}
	t := &Transport{
		id: id, dir: dir, log: log, listener: l, slots: make(chan struct{}, handshakesMost), closed: make(chan struct{}),
		complained: make(map[string]time.Time), open: make(map[net.Conn]struct{}),
	}
	t.raft, t.api = newQueue(t, l.Addr()), newQueue(t, l.Addr())
	t.running.Go(t.accept)
	return t, nil
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
			case <-t.closed:
				return
			case <-time.After(50 * time.Millisecond): // out of descriptors: the next try may go better
				continue
			}
		}
		select {
		case t.slots <- struct{}{}:
		case <-t.closed:
			conn.Close()
			return
		}
		t.running.Go(func() {
			defer func() { <-t.slots }()
			t.welcome(conn)
		})
	}
}

// welcome checks who calls and hands the connection to whom it is for.
func (t *Transport) welcome(raw net.Conn) {
	if !t.track(raw) {
		return
	}
	defer t.untrack(raw)
	conn := tls.Server(raw, t.config("", protoRaft, protoAPI))
	ctx, cancel := context.WithTimeout(context.Background(), handshakeLimit)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		t.complain(raw.RemoteAddr().String(), "a peer was refused", err)
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
	case <-t.closed:
		conn.Close()
	case <-time.After(handshakeLimit):
		conn.Close()
	}
}

// track remembers connections whose handshake runs, so that Close can end it.
func (t *Transport) track(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.closed:
		c.Close()
		return false
	default:
	}
	t.open[c] = struct{}{}
	return true
}

func (t *Transport) untrack(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
}

// config is the TLS of one connection. server is the node that is dialled, "" for incoming ones.
func (t *Transport) config(server string, protos ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{t.id.cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: t.id.pool, RootCAs: t.id.pool,
		ServerName: server, NextProtos: protos, SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error { return t.verify(s.PeerCertificates, server) },
	}
}

// verify compares name and key with what is known.
func (t *Transport) verify(chain []*x509.Certificate, dialled string) error {
	if len(chain) == 0 {
		return errors.New("the peer shows no certificate")
	}
	name := chain[0].Subject.CommonName
	if dialled != "" && name != dialled {
		return fmt.Errorf("the host that answers for %s says that it is %s", dialled, name)
	}
	if name == t.id.node && pinOf(chain[0]) != t.id.pin {
		return fmt.Errorf("another host uses this node's name %s", name)
	}
	if pin, known := t.dir.Pin(name); known && pin != pinOf(chain[0]) {
		return fmt.Errorf("%s shows another key than the one on record; if it was reinstalled, run `nightporter forget %s`", name, name)
	}
	return nil
}

// complain logs a refusal, but not each of a persistent peer.
func (t *Transport) complain(who, what string, err error) {
	host, _, splitErr := net.SplitHostPort(who)
	if splitErr != nil {
		host = who
	}
	t.mu.Lock()
	last, again := t.complained[host]
	quiet := again && time.Since(last) < complainEvery
	if !quiet {
		t.complained[host] = time.Now()
	}
	t.mu.Unlock()
	if !quiet {
		t.log.Warn(what+" (another secret, another cluster, or no agent at all?)", "peer", host, "err", err)
	}
}

// dial reaches a node.
func (t *Transport) dial(ctx context.Context, node, proto string) (net.Conn, error) {
	addr, ok := t.dir.Addr(node)
	if !ok {
		return nil, fmt.Errorf("the address of %s is not known", node)
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("reaching %s at %s: %w", node, addr, err)
	}
	conn := tls.Client(raw, t.config(node, proto))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		t.complain(addr.String(), "a peer was not trusted", err)
		return nil, fmt.Errorf("reaching %s at %s: %w", node, addr, err)
	}
	return conn, nil
}

// DialAPI reaches a node's admin surface.
func (t *Transport) DialAPI(ctx context.Context, node string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	return t.dial(ctx, node, protoAPI)
}

// APIListener takes the connections of peers to the admin surface.
func (t *Transport) APIListener() net.Listener { return t.api }

// RaftLayer is what Raft's network transport runs over. A raft.ServerAddress is a node's name.
func (t *Transport) RaftLayer() raft.StreamLayer { return raftLayer{t.raft, t} }

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

// Close ends everything and waits.
func (t *Transport) Close() error {
	var err error
	t.once.Do(func() {
		t.mu.Lock()
		close(t.closed)
		for c := range t.open {
			c.Close()
		}
		t.mu.Unlock()
		err = t.listener.Close()
	})
	t.running.Wait()
	return err
}

// queue is a listener fed by the transport.
type queue struct {
	t      *Transport
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue(t *Transport, addr net.Addr) *queue {
	return &queue{t: t, addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	case <-q.t.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; the port stays open for the other protocol.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }

// raftLayer is the queue of Raft connections with a way to dial. Its address is the node's name.
type raftLayer struct {
	*queue
	t *Transport
}

// Dial implements raft.StreamLayer.
func (l raftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), min(timeout, handshakeLimit))
	defer cancel()
	return l.t.dial(ctx, string(address), protoRaft)
}

// Addr implements net.Listener.
func (l raftLayer) Addr() net.Addr { return nodeAddr(l.t.id.node) }

// nodeAddr is a node's name as a net.Addr.
type nodeAddr string

// Network implements net.Addr.
func (nodeAddr) Network() string { return "nightporter" }

// String implements net.Addr.
func (a nodeAddr) String() string { return string(a) }

package cluster

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

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
	case <-q.t.ctx.Done():
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
	t   *Transport
	ctx context.Context // ends when this node hangs up
	end context.CancelFunc
}

func newRaftLayer(t *Transport) raftLayer {
	ctx, end := context.WithCancel(t.ctx)
	return raftLayer{t.raft, t, ctx, end}
}

// HangUp ends every connection that was dialled, and every attempt to.
func (l raftLayer) HangUp() { l.end() }

// Dial implements raft.StreamLayer.
func (l raftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, min(timeout, handshakeLimit))
	defer cancel()
	conn, err := l.t.dial(ctx, string(address), protoRaft)
	if err != nil {
		return nil, err
	}
	raw := conn.(*tls.Conn).NetConn() // a TLS connection says goodbye, and would wait for that
	return &dialled{conn, context.AfterFunc(l.ctx, func() { raw.Close() })}, nil
}

// dialled ends when its node hangs up.
type dialled struct {
	net.Conn
	forget func() bool
}

// Close implements net.Conn.
func (d *dialled) Close() error {
	d.forget()
	return d.Conn.Close()
}

// Addr implements net.Listener.
func (l raftLayer) Addr() net.Addr { return nodeAddr(l.t.id.node) }

// nodeAddr is a node's name as a net.Addr.
type nodeAddr string

// Network implements net.Addr.
func (nodeAddr) Network() string { return "nightporter" }

// String implements net.Addr.
func (a nodeAddr) String() string { return string(a) }

package wake

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Guard says what counts as demand for a service.
type Guard struct {
	Service  string
	Addrs    []netip.Addr // ip0
	TCP, UDP []uint16     // the guarded ports
	Later    bool         // hand on all other TCP segments to Addrs as well, whatever their port: they may belong to a flow
}

// Stage tells what was heard.
type Stage uint8

// The stages.
const (
	Attempt Stage = iota // to connect, or a datagram: demand as it stands
	Later                // a TCP segment that is no first one. Whether it is demand the flows say (Parked).
)

// Demand is one attempt of a client to reach a guarded port, or another segment of its.
type Demand struct {
	Stage    Stage
	Service  string
	Client   netip.AddrPort
	Dest     netip.AddrPort
	Protocol string        // "tcp" or "udp"
	At       time.Duration // since boot (CLOCK_BOOTTIME), when it was read from the socket
	// Frame is the whole Ethernet frame, for a replay; nil if it was larger than 2048 bytes. Of a larger one of stage Later it
	// is the beginning. Its transport checksum may be unfinished. It belongs to the receiver.
	Frame []byte
	Local bool   // the client runs on this host
	Node  string // the target whose connection a later segment belongs to; set by who knows it
}

// flow is what a client's repetitions have in common.
type flow struct {
	protocol     string
	client, dest netip.AddrPort
}

// place is what in the queue a newer demand takes the place of: an attempt that of its flow, a later segment only itself.
type place struct {
	flow
	stage Stage
	seq   uint32
}

func (d Demand) flow() flow { return flow{d.Protocol, d.Client, d.Dest} }

// Stats counts what a Listener saw.
type Stats struct {
	Seen    uint64 // demands read from the socket
	Merged  uint64 // of these: replaced a demand of the same flow that still waited for the callback
	Dropped uint64 // of these: left out because flowLimit other flows were waiting
	Lost    uint64 // never read: the kernel's queue was full
}

// Listener watches one interface for demand. It ends by Close, or when the interface goes down.
type Listener struct {
	iface string
	local bool
	guard Guard
	file  *os.File
	conn  syscall.RawConn
	queue *flowQueue
	done  chan struct{} // closed when both goroutines have ended
	quit  chan struct{} // closed by Close
	once  sync.Once

	mu   sync.Mutex
	err  error
	lost uint64
}

// Listen calls on for each demand for g that arrives on the interface: the macvlan of the service for clients on the
// network, "lo" for clients on this host, whose packets never reach the wire. Frames are seen before any packet filter or
// fence drops them. The socket's filter is in force before the first frame can be queued.
//
// The callback runs on one goroutine. While it is busy, demands wait: the newest of each flow, up to 1024 flows. It must
// not call Close. Listen needs CAP_NET_RAW, and an interface that is up.
func Listen(iface string, g Guard, on func(Demand)) (*Listener, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	filter, err := g.kernelFilter()
	if err != nil {
		return nil, err
	}
	ifi, err := ethernetInterface(iface)
	if err != nil {
		return nil, err
	}
	if ifi.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("listen for demand on %s: %w: bring it up first", iface, ErrInterfaceDown)
	}
	fd, err := openFiltered(ifi.Index, filter)
	if err != nil {
		return nil, fmt.Errorf("listen for demand on %s%s: %w", iface, rightsHint(err), err)
	}
	file := os.NewFile(uintptr(fd), "demand:"+iface) // not blocking: reads wait in the runtime's poller, Close ends them
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("listen for demand on %s: %w", iface, err)
	}
	l := &Listener{
		iface: iface, local: ifi.Flags&net.FlagLoopback != 0, guard: g, file: file, conn: conn,
		queue: newFlowQueue(), done: make(chan struct{}), quit: make(chan struct{}),
	}
	l.start(on)
	return l, nil
}

// ErrInterfaceDown says that the interface is down or was removed.
var ErrInterfaceDown = errors.New("the interface is down or gone")

// start runs the reader, and the goroutine that calls back. The second ends after the first, and closes done.
func (l *Listener) start(on func(Demand)) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := l.read()
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
	}()
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.queue.filled:
				l.deliver(on)
			case <-ended:
				l.deliver(on) // what came before the end of the interface is demand all the same
				return
			}
		}
	}()
}

func (l *Listener) deliver(on func(Demand)) {
	for {
		select {
		case <-l.quit:
			return
		default:
		}
		d, ok := l.queue.take()
		if !ok {
			return
		}
		on(d)
	}
}

// read runs until the socket is closed or the interface is down.
func (l *Listener) read() error {
	buf := make([]byte, frameLimit)
	for {
		var n int
		var rerr error
		err := l.conn.Read(func(fd uintptr) bool {
			for rerr = unix.EINTR; rerr == unix.EINTR; {
				// MSG_TRUNC: n is the length of the frame even where it is longer than buf.
				n, _, rerr = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
			}
			return rerr != unix.EAGAIN
		})
		if err == nil {
			err = rerr
		}
		if err != nil {
			return l.ending(err)
		}
		l.see(buf, n)
	}
}

// ending says why reading ended; nil after Close.
func (l *Listener) ending(err error) error {
	select {
	case <-l.quit:
		return nil
	default:
	}
	if errors.Is(err, unix.ENETDOWN) {
		return fmt.Errorf("listen for demand on %s: %w", l.iface, ErrInterfaceDown)
	}
	return fmt.Errorf("read demand from %s: %w", l.iface, err)
}

func (l *Listener) see(buf []byte, n int) {
	at := readClock(unix.CLOCK_BOOTTIME)
	s, stage, ok := l.guard.hears(buf[:min(n, len(buf))])
	if !ok {
		return
	}
	d := Demand{Stage: stage, Service: l.guard.Service, Client: s.client, Dest: s.dest, Protocol: "tcp", At: at, Local: l.local}
	if s.protocol == protoUDP {
		d.Protocol = "udp"
	}
	if n <= len(buf) || stage == Later {
		d.Frame = append([]byte(nil), buf[:min(n, len(buf))]...)
	}
	l.queue.put(d, s)
}

// Close ends the listener and waits until the callback has returned. Demands that still wait are not delivered. A second
// Close only waits. The kernel takes 6 to 16 ms to close a packet socket: not to be done on the way of a hand-over.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		l.mu.Lock()
		l.addLost()
		l.mu.Unlock()
		close(l.quit)
		err = l.file.Close()
	})
	<-l.done
	return err
}

// Done is closed when the listener has ended, by Close or by itself: Err says which. One that ended by itself is to be
// closed, and opened again when the interface is back.
func (l *Listener) Done() <-chan struct{} { return l.done }

// Err is nil while the listener works and after Close. It wraps ErrInterfaceDown when the interface went down or was removed.
func (l *Listener) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Stats gives the counts since the start.
func (l *Listener) Stats() Stats {
	s := l.queue.snapshot()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLost()
	s.Lost = l.lost
	return s
}

// addLost takes the kernel's count of dropped frames, which each reading sets back. After Close it stands still.
func (l *Listener) addLost() {
	l.conn.Control(func(fd uintptr) {
		if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			l.lost += uint64(st.Drops)
		}
	})
}

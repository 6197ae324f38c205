package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// The ring that the kernel writes frames to: 64 MiB, two fifths of a second of the worst flood that two cores can send, and seconds of what
// hosts say. It is emptied at once (backlog).
const (
	slotSize  = 2048 // a frame of 1514 bytes and its header; longer ones are cut, see Frame.Length
	blockSize = 1 << 16
	slots     = 32768
)

// Frame is one frame at one port of the switch. A frame that is forwarded is seen twice: coming in from one host and
// going out to another.
type Frame struct {
	Time   time.Time // when the kernel saw it, by the wall clock that every process here reads
	Port   string    // the host or client at the port
	ToHost bool      // it goes out to the host; else it comes from it
	Length int       // of the frame; Data may be shorter
	Data   []byte    // from the destination address on
}

// Capture watches every port of the switch. It sees frames before any Cut drops them.
type Capture struct {
	frames  chan Frame
	socket  *os.File
	ring    []byte
	pcap    *pcapgo.NgWriter
	names   map[int]string // of the ports
	ids     map[int]int    // of the ports in the file
	backlog *backlog
	emptied chan struct{} // closed when nothing more is taken out of the ring
	done    chan struct{}
	stop    chan struct{}
	err     error // of the file, after done
	dropped atomic.Uint64
}

// Capture begins to watch. pcap, if it is not nil, gets everything in the format pcapng with one interface per port.
// Every frame must be received from Frames or the backlog and the ring run over, unless drop is set: then nothing goes to Frames.
//
// Goroutines: one empties the ring, one passes the frames on; Stop waits for both.
func (l *Lab) Capture(ctx context.Context, pcap io.Writer, drop bool) (*Capture, error) {
	_, files, err := l.ask(ctx, request{Verb: "tap"})
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	if len(files) != 1 {
		return nil, errors.New("watch the switch: the lab sent no socket")
	}
	c := &Capture{frames: make(chan Frame, 1024), names: map[int]string{}, ids: map[int]int{}, backlog: newBacklog(), emptied: make(chan struct{}), done: make(chan struct{}), stop: make(chan struct{})}
	for k := 1; k <= maxHosts; k++ {
		c.names[hostPlug(k).index] = hostName(k)
	}
	for k := 1; k <= maxClients; k++ {
		c.names[clientPlug(k).index] = clientName(k)
	}
	if pcap != nil {
		if err := c.begin(pcap); err != nil {
			return nil, err
		}
	}
	if drop {
		close(c.frames)
	}
	if err := c.open(files[0]); err != nil {
		return nil, fmt.Errorf("watch the switch: %w", err)
	}
	go c.read()
	go c.pass(drop)
	return c, nil
}

// tapAll opens a packet socket on all links of the calling thread's namespace, which is the switch's.
func tapAll() ([]*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // receives nothing until it is bound
	if err != nil {
		return nil, fmt.Errorf("watch the switch: %w", err)
	}
	return []*os.File{os.NewFile(uintptr(fd), "packet socket in the switch")}, nil
}

// open lays the ring and only then binds the socket to all links, so that no frame goes past the ring.
func (c *Capture) open(f *os.File) error {
	fd := int(f.Fd())
	socket, err := pollable(f)
	if err != nil {
		return err
	}
	req := unix.TpacketReq{Block_size: blockSize, Block_nr: slots * slotSize / blockSize, Frame_size: slotSize, Frame_nr: slots}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2)
	if err == nil {
		err = unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req)
	}
	if err == nil {
		c.ring, err = unix.Mmap(fd, 0, slots*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL)})
	}
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	c.socket = socket
	return nil
}

// begin writes the head of the file. All ports are declared at once: a host may be switched on later.
func (c *Capture) begin(w io.Writer) error {
	for index, name := range c.names {
		iface := pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeEthernet, SnapLength: slotSize, TimestampResolution: 9}
		var err error
		id := 0
		if c.pcap == nil {
			c.pcap, err = pcapgo.NewNgWriterInterface(w, iface, pcapgo.NgWriterOptions{})
		} else {
			id, err = c.pcap.AddInterface(iface)
		}
		if err != nil {
			return fmt.Errorf("begin the capture file: %w", err)
		}
		c.ids[index] = id
	}
	return nil
}

// Frames are the frames in the order in which the kernel saw them. It is closed after Stop.
func (c *Capture) Frames() <-chan Frame { return c.frames }

// Stop ends the watch and gives the number of frames that were lost because nobody received fast enough.
func (c *Capture) Stop() (dropped uint64, err error) {
	select {
	case <-c.stop:
	default:
		close(c.stop)
		c.socket.Close() // only read: nothing to lose
	}
	<-c.done
	return c.dropped.Load(), c.err
}

// read empties the ring.
func (c *Capture) read() {
	defer close(c.emptied)
	defer unix.Munmap(c.ring) // fails only for an address that is not a mapping
	raw, err := c.socket.SyscallConn()
	if err != nil {
		c.backlog.end(err)
		return
	}
	for next := 0; ; next = (next + 1) % slots {
		slot := c.ring[next*slotSize : (next+1)*slotSize]
		status := (*uint32)(unsafe.Pointer(&slot[0]))
		err := raw.Read(func(fd uintptr) bool {
			ready := atomic.LoadUint32(status)&unix.TP_STATUS_USER != 0
			if !ready {
				c.countDropped(int(fd))
			}
			return ready
		})
		if err != nil {
			c.backlog.end(err)
			return
		}
		f, index, ok := c.frame(slot)
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		if ok && !c.backlog.put(taken{f, index}, c.stop) {
			return
		}
	}
}

// pass hands on what was taken out of the ring.
func (c *Capture) pass(drop bool) {
	defer close(c.done)
	defer func() { <-c.emptied }()
	if !drop {
		defer close(c.frames)
	}
	if c.pcap != nil {
		defer func() { c.note(c.pcap.Flush()) }()
	}
	for {
		all, err := c.backlog.take(c.stop)
		if err != nil && c.err == nil {
			c.err = err
		}
		if all == nil {
			return
		}
		for _, t := range all {
			if !c.deliver(t.frame, t.index, drop) {
				return
			}
		}
	}
}

// countDropped adds what the kernel counted since the last time; reading sets its count to zero.
func (c *Capture) countDropped(fd int) {
	if st, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		c.dropped.Add(uint64(st.Drops))
	}
}

// frame copies a frame out of its slot of the ring.
func (c *Capture) frame(slot []byte) (Frame, int, bool) {
	head := (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
	at := (int(unsafe.Sizeof(*head)) + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1)
	from := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&slot[at]))
	index := int(from.Ifindex)
	name, known := c.names[index]
	if !known {
		return Frame{}, 0, false // the bridge itself
	}
	data := append([]byte(nil), slot[head.Mac:int(head.Mac)+int(head.Snaplen)]...)
	return Frame{
		Time: time.Unix(int64(head.Sec), int64(head.Nsec)), Port: name, ToHost: from.Pkttype == unix.PACKET_OUTGOING,
		Length: int(head.Len), Data: data,
	}, index, true
}

func (c *Capture) deliver(f Frame, index int, drop bool) bool {
	if c.pcap != nil {
		info := gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(f.Data), Length: f.Length, InterfaceIndex: c.ids[index]}
		c.note(c.pcap.WritePacket(info, f.Data))
	}
	if drop {
		return true
	}
	select {
	case c.frames <- f:
		return true
	case <-c.stop:
		return false
	}
}

func (c *Capture) note(err error) {
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("write the capture file: %w", err)
	}
}

// Src is the frame's source address.
func (f Frame) Src() net.HardwareAddr { return net.HardwareAddr(f.Data[6:12]) }

// Dst is the frame's destination address.
func (f Frame) Dst() net.HardwareAddr { return net.HardwareAddr(f.Data[:6]) }

// EtherType is the frame's type, such as 0x0806 for ARP.
func (f Frame) EtherType() uint16 { return binary.BigEndian.Uint16(f.Data[12:14]) }

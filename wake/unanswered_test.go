package wake

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// clientLAN is a host with the service's addresses and a client at the other end of a cable.
type clientLAN struct {
	*lan
	listener net.Listener
}

func newClientLAN(t *testing.T) *clientLAN {
	t.Helper()
	n := &clientLAN{lan: newLAN(t)}
	must(t, n.host.do(func() error {
		return errors.Join(addr("eth0", guard4.String()+"/24"), addr("eth0", guard6.String()+"/64"), addr("eth0", "10.77.0.11/24"))
	}))
	must(t, n.client.do(func() error { return errors.Join(addr("eth0", "10.77.0.9/24"), addr("eth0", "fd77::9/64")) }))
	must(t, n.host.do(func() (err error) {
		n.listener, err = net.Listen("tcp", ":8080")
		return err
	}))
	t.Cleanup(func() { n.listener.Close() })
	return n
}

// pair is a connection of the client to an address of the host.
func (n *clientLAN) pair(t *testing.T, to netip.Addr) (server, client *net.TCPConn) {
	t.Helper()
	must(t, n.client.do(func() error {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, 8080).String(), patience)
		if err == nil {
			client = c.(*net.TCPConn)
		}
		return err
	}))
	c, err := n.listener.Accept()
	must(t, err)
	server = c.(*net.TCPConn)
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// cut drops all that the host sends, as a closed fence does, until it is mended.
func (n *clientLAN) cut(t *testing.T) (mend func()) {
	t.Helper()
	return n.host.filterOut(t, asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}) // TC_ACT_SHOT
}

// withholdACKs drops the TCP segments over IPv4 that go out of eth0, but those with a SYN.
func (s *space) withholdACKs(t *testing.T) (mend func()) {
	t.Helper()
	const shot, protocol, flags, syn = 2, 14 + 9, 14 + 20 + 13, 2
	return s.filterOut(t, asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(protocol, asm.Byte),
		asm.JNE.Imm(asm.R0, protoTCP, "pass"),
		asm.LoadAbs(flags, asm.Byte),
		asm.And.Imm(asm.R0, syn),
		asm.JNE.Imm(asm.R0, 0, "pass"),
		asm.Mov.Imm(asm.R0, shot),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("pass"),
		asm.Return(),
	})
}

// filterOut has a program judge all that goes out of eth0, until it is mended.
func (s *space) filterOut(t *testing.T, program asm.Instructions) (mend func()) {
	t.Helper()
	var qdisc netlink.Qdisc
	must(t, s.do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "MIT", Instructions: program})
		if err != nil {
			return err
		}
		defer p.Close()
		at := link.Attrs().Index
		qdisc = &netlink.GenericQdisc{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: at, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}, QdiscType: "clsact",
		}
		return errors.Join(netlink.QdiscAdd(qdisc), netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: at, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
			Fd:          p.FD(), Name: "judge", DirectAction: true,
		}))
	}))
	return func() {
		t.Helper()
		must(t, s.do(func() error { return netlink.QdiscDel(qdisc) }))
	}
}

// owed looks for a client's connection among those on which somebody waits; "" = it is not among them.
func (n *clientLAN) owed(t *testing.T, client net.Conn) string {
	t.Helper()
	var all []Owed
	must(t, n.host.do(func() (err error) {
		all, err = Unanswered([]netip.Addr{guard4, guard6})
		return err
	}))
	for _, o := range all {
		if o.Client == netip.MustParseAddrPort(client.LocalAddr().String()) && o.Dest == netip.MustParseAddrPort(client.RemoteAddr().String()) {
			return o.Why
		}
	}
	return ""
}

// say sends a word and returns when the other side's kernel has it, or its program, if that is to read it.
func say(t *testing.T, from, to *net.TCPConn, read bool) {
	t.Helper()
	const word = "a word"
	_, err := from.Write([]byte(word))
	must(t, err)
	must(t, to.SetReadDeadline(time.Now().Add(patience)))
	if read {
		_, err = io.ReadFull(to, make([]byte, len(word)))
		must(t, err)
		return
	}
	raw, err := to.SyscallConn()
	must(t, err)
	until(t, "the word is there", func() bool {
		there := 0
		must(t, raw.Control(func(fd uintptr) { there, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }))
		must(t, err)
		return there == len(word)
	})
}

// info of the kernel about a connection's end.
func infoOf(t *testing.T, c *net.TCPConn) (i *unix.TCPInfo) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { i, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
	must(t, err)
	return i
}

// answered lets a client ask and get its answer, and wants nobody to wait any more long before it would not count.
func (n *clientLAN) answered(t *testing.T, server, client *net.TCPConn) {
	t.Helper()
	until(t, "an answer is seen as one", func() bool {
		say(t, client, server, true)
		say(t, server, client, true)
		until(t, "nobody waits", func() bool { return n.owed(t, client) == "" })
		i := infoOf(t, server)
		return i.Last_data_recv < uint32(owedFor/time.Millisecond) && i.Last_data_sent > uint32(jiffy/time.Millisecond)
	})
}

// What a client waits for is seen by its connection, from the first moment to the last, and again with its next word.
func TestUnanswered(t *testing.T) {
	n := newClientLAN(t)
	for _, to := range []netip.Addr{guard4, guard6} {
		server, client := n.pair(t, to)
		wants := func(when, want string) {
			t.Helper()
			if got := n.owed(t, client); got != want {
				t.Errorf("%v, %s: %q, want %q", to, when, got, want)
			}
		}
		wants("when it has come", owedGreeting)
		say(t, client, server, false)
		wants("when it has asked", owedReading)
		_, err := server.Read(make([]byte, 100))
		must(t, err)
		wants("when the server computes", owedAnswer)
		n.answered(t, server, client)

		say(t, client, server, false)
		wants("when it has asked again", owedReading)
		_, err = server.Read(make([]byte, 100))
		must(t, err)
		wants("when the server computes again", owedAnswer)
		until(t, "that was a while ago", func() bool { return infoOf(t, server).Last_data_recv > uint32(2*jiffy/time.Millisecond) })
		wants("a while later", owedAnswer)
		mend := n.cut(t)
		_, err = server.Write([]byte("answer"))
		must(t, err)
		wants("when the answer was dropped", owedSending)
		mend()
		_, err = io.ReadFull(client, make([]byte, len("answer")))
		must(t, err)
		n.answered(t, server, client)

		must(t, client.CloseWrite())
		must(t, server.SetReadDeadline(time.Now().Add(patience)))
		until(t, "it has said that it says no more", func() bool { return infoOf(t, server).State == stateCloseWait })
		wants("with a FIN that is not read", "")
		_, err = server.Read(make([]byte, 1))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		wants("with one that is", "")
	}
}

// Who asks and then says that this was all waits for the answer as well, and for its end.
func TestUnansweredHalfClosed(t *testing.T) {
	n := newClientLAN(t)
	server, client := n.pair(t, guard4)
	say(t, client, server, false)
	must(t, client.CloseWrite())
	until(t, "the end is there", func() bool { return infoOf(t, server).State == stateCloseWait })
	if got := n.owed(t, client); got != owedReading {
		t.Errorf("not read: %q", got)
	}
	_, err := io.Copy(io.Discard, server)
	must(t, err)
	if got := n.owed(t, client); got != owedAnswer {
		t.Errorf("read: %q", got)
	}
	mend := n.cut(t)
	_, err = server.Write([]byte("answer"))
	must(t, err)
	must(t, server.Close())
	if got := n.owed(t, client); got != owedSending { // of a socket that no program has any more
		t.Errorf("answered behind the fence: %q", got)
	}
	mend()
	must(t, client.SetReadDeadline(time.Now().Add(patience)))
	if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
		t.Errorf("the answer is %q, %v", got, err)
	}
}

// A client may have the answer to its SYN and take itself for connected when its last word of the handshake is lost to the closed fence: it says
// the next one to a front that knows nothing of it. It counts until the answer to its SYN is repeated, which takes a second.
func TestUnansweredHandshake(t *testing.T) {
	n := newClientLAN(t)
	mend := n.client.withholdACKs(t)
	var client net.Conn
	seen := func() bool {
		var all []Owed
		must(t, n.host.do(func() (err error) {
			all, err = Unanswered([]netip.Addr{guard4})
			return err
		}))
		i := slices.IndexFunc(all, func(o Owed) bool { return o.Client.String() == client.LocalAddr().String() })
		if i >= 0 && (!all[i].Half || all[i].Why != owedHandshake) {
			t.Errorf("%+v", all[i])
		}
		return i >= 0
	}
	until(t, "it is seen before a second is over", func() bool {
		must(t, n.client.do(func() (err error) {
			client, err = net.DialTimeout("tcp", netip.AddrPortFrom(guard4, 8080).String(), patience)
			return err
		}))
		c := client
		t.Cleanup(func() { c.Close() })
		return seen()
	})
	until(t, "the answer to its SYN was repeated", func() bool { return !seen() })
	mend()
	_, err := client.Write([]byte("so it goes on"))
	must(t, err)
	server, err := n.listener.Accept()
	must(t, err)
	must(t, server.Close())
}

// A server that speaks first owes its greeting; when that has arrived, or while it talks unasked, nobody waits.
func TestUnansweredServerSpeaksFirst(t *testing.T) {
	n := newClientLAN(t)
	server, client := n.pair(t, guard4)
	mend := n.cut(t)
	_, err := server.Write([]byte("greeting"))
	must(t, err)
	if got := n.owed(t, client); got != owedGreeting {
		t.Errorf("the greeting was dropped: %q", got)
	}
	mend()
	_, err = io.ReadFull(client, make([]byte, len("greeting")))
	must(t, err)
	until(t, "the greeting is acknowledged", func() bool { return infoOf(t, server).Bytes_acked > 0 })
	if got := n.owed(t, client); got != "" {
		t.Errorf("after the greeting: %q", got)
	}
	mend = n.cut(t)
	_, err = server.Write([]byte("more"))
	must(t, err)
	if got := n.owed(t, client); got != "" {
		t.Errorf("with more to say: %q", got)
	}
	mend()
}

// No fence is between two ends on one host: a check of the service's own port keeps nobody awake. Nor do connections to another address.
func TestUnansweredIsOfTheService(t *testing.T) {
	n := newClientLAN(t)
	for _, to := range []netip.Addr{guard4, guard6} {
		var client net.Conn
		must(t, n.host.do(func() (err error) {
			client, err = net.DialTimeout("tcp", netip.AddrPortFrom(to, 8080).String(), patience)
			return err
		}))
		defer client.Close()
		server, err := n.listener.Accept()
		must(t, err)
		defer server.Close()
		say(t, client.(*net.TCPConn), server.(*net.TCPConn), false)
		if got := n.owed(t, client); got != "" {
			t.Errorf("from here to %v: %q", to, got)
		}
	}
	server, client := n.pair(t, netip.MustParseAddr("10.77.0.11"))
	say(t, client, server, false)
	if got := n.owed(t, client); got != "" {
		t.Errorf("to the host's own address: %q", got)
	}
}

// What is long ago keeps nobody awake, whatever is still to be said; and what is told of a connection decides, not how it came about.
func TestOwes(t *testing.T) {
	const old = owedFor + time.Millisecond
	for _, c := range []struct {
		name   string
		state  uint8
		unread uint32
		i      unix.TCPInfo
		want   string
	}{
		{"asked long ago, not read", 1, 9, unix.TCPInfo{Last_data_recv: inMS(old), Last_data_sent: inMS(old), Data_segs_in: 1}, ""},
		{"asked long ago, not answered", 1, 0, unix.TCPInfo{Last_data_recv: inMS(old), Last_data_sent: 2 * inMS(old), Data_segs_in: 1, Data_segs_out: 1}, ""},
		{"asked long ago, the answer is repeated to a client that has died", 1, 0, unix.TCPInfo{Last_data_recv: inMS(old), Last_data_sent: 1, Last_ack_recv: inMS(old), Data_segs_in: 1, Data_segs_out: 9, Notsent_bytes: 99}, ""},
		{"came long ago", 1, 0, unix.TCPInfo{Last_data_recv: inMS(old), Last_data_sent: inMS(old)}, ""},
		{"asked just in time", 1, 0, unix.TCPInfo{Last_data_recv: inMS(owedFor), Last_data_sent: inMS(old), Data_segs_in: 1, Data_segs_out: 1}, owedAnswer},
		{"asked and answered in one moment", 1, 0, unix.TCPInfo{Last_data_recv: 20, Last_data_sent: 20, Last_ack_recv: 20, Data_segs_in: 1, Data_segs_out: 1}, ""},
		{"in this moment", 1, 0, unix.TCPInfo{Last_data_recv: 4, Last_data_sent: 4, Last_ack_recv: 4, Data_segs_in: 1, Data_segs_out: 1}, owedAnswer},
		{"asked, never answered, in the moment it came", 1, 0, unix.TCPInfo{Last_data_recv: 900, Last_data_sent: 900, Data_segs_in: 1}, owedAnswer},
		{"half of a long answer", 1, 0, unix.TCPInfo{Last_data_recv: 900, Last_data_sent: 1, Last_ack_recv: 1, Data_segs_in: 1, Data_segs_out: 90, Notsent_bytes: 1448, Snd_mss: 1448}, owedSending},
		{"the next word of a talker", 1, 0, unix.TCPInfo{Last_data_recv: 900, Last_data_sent: 1, Last_ack_recv: 50, Data_segs_in: 1, Data_segs_out: 90, Notsent_bytes: 80, Snd_mss: 1448}, ""},
		{"asked, said that this was all, and not sent", stateLastAck, 0, unix.TCPInfo{Last_data_recv: 900, Last_data_sent: 1, Last_ack_recv: 850, Data_segs_in: 1, Data_segs_out: 1, Notsent_bytes: 7, Snd_mss: 1448}, owedSending},
		{"asked, which its kernel repeated, and not sent", 1, 0, unix.TCPInfo{Last_data_recv: 900, Last_data_sent: 1, Last_ack_recv: 850, Data_segs_in: 2, Data_segs_out: 1, Notsent_bytes: 7, Snd_mss: 1448}, owedSending},
		{"answered, on its way", 1, 0, unix.TCPInfo{Last_data_recv: 30, Last_data_sent: 20, Last_ack_recv: 30, Unacked: 1, Data_segs_in: 1, Data_segs_out: 1}, ""},
		{"turned away without a word", stateFinWait2, 0, unix.TCPInfo{Last_data_recv: 30, Last_data_sent: 30, Bytes_acked: 1}, ""},
		{"went without a word", stateCloseWait, 1, unix.TCPInfo{Last_data_recv: 30, Last_data_sent: 30}, ""},
	} {
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&c.i)), unsafe.Sizeof(c.i))
		if got := (socket{state: c.state, unread: c.unread, info: raw}).owes(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := (socket{state: c.state, unread: c.unread, info: raw[:100]}).owes(); got != "" {
			t.Errorf("%s, cut off: %q", c.name, got)
		}
	}
}

func inMS(d time.Duration) uint32 { return uint32(d / time.Millisecond) }

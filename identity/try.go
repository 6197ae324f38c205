package identity

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoTrial means that a kernel could not be tried, since this process may not make a network namespace.
var ErrNoTrial = errors.New("nothing could be tried: this process may not make a network namespace (CAP_SYS_ADMIN is needed)")

// Trial is what a kernel can do of what identities need. An error says what cannot be had and, where that is known, what is needed.
type Trial struct {
	Macvlan  error    // a link with a MAC of its own
	NFTables error    // the fence and the guard by nftables
	Exact    error    // the fence by BPF
	Packet   error    // packet sockets
	Limits   []string // of the fence by BPF here, beyond those that it has everywhere
}

// Try builds a whole identity in a network namespace of its own, by each kind of fence, and takes it down. Nothing of this host's network is
// touched. The error is ErrNoTrial.
func Try() (Trial, error) {
	var t Trial
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine, and the namespace with the thread
		if unix.Gettid() == unix.Getpid() {
			// The main thread stands for the process in /proc and must stay where it is. While this goroutine holds it, the next one gets another.
			inner := make(chan error)
			go func() {
				runtime.LockOSThread()
				inner <- t.run()
			}()
			err := <-inner
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- t.run()
	}()
	err := <-done
	return t, err
}

// The identity of a trial. Its addresses are for documentation (RFC 5737, RFC 3849).
var trialSpec = Spec{
	Service: "trial", MAC: net.HardwareAddr{0x02, 0, 0x5e, 0, 0, 1},
	Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("2001:db8::200")},
}

const trialLink = "trial0"

func (t *Trial) run() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return ErrNoTrial
	}
	if err := makeTrialLink(); err != nil {
		t.Macvlan, t.NFTables, t.Exact = err, err, err
		return nil
	}
	spec := trialSpec
	if t.Macvlan = tryMacvlan(); t.Macvlan != nil {
		spec.Mode, spec.MAC = HostMAC, nil
	}
	_, t.NFTables = tryFence(spec, NFTables)
	t.Limits, t.Exact = tryFence(spec, Exact)
	t.Packet = tryPacket()
	return nil
}

// makeTrialLink makes something to stand for a network card.
func makeTrialLink() error {
	attrs := netlink.LinkAttrs{Name: trialLink, TxQLen: -1}
	err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
	if err != nil {
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "trial1"})
	}
	if err != nil {
		return fmt.Errorf("making a link to try this kernel with (the module dummy or veth): %w", err)
	}
	l, err := netlink.LinkByName(trialLink)
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	return err
}

func tryMacvlan() error {
	lower, err := netlink.LinkByName(trialLink)
	if err != nil {
		return err
	}
	link := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "trial2", ParentIndex: lower.Attrs().Index, TxQLen: -1}, Mode: netlink.MACVLAN_MODE_BRIDGE}
	if err := netlink.LinkAdd(link); err != nil {
		return macvlanHint(err)
	}
	return netlink.LinkDel(link)
}

func tryPacket() error {
	ifi, err := net.InterfaceByName(trialLink)
	if err != nil {
		return err
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
	if err != nil {
		return err
	}
	return conn.Close()
}

func tryFence(spec Spec, form Form) (limits []string, err error) {
	h, err := NewHost(trialLink, form, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Purge(), h.Close(), dropPins(pinRoot, "")) }()
	if h.suspends != nil {
		limits, h.refusal = h.suspends.limits, nil // the limits are told; what else is against it shows now
	}
	if why := h.Refusal(); why != "" {
		_, why, _ = strings.Cut(why, "cannot have it: ")
		return nil, errors.New(why)
	}
	p, err := h.Prepare(spec)
	if err != nil {
		return nil, err
	}
	return limits, p.Remove()
}

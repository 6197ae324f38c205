package identity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// late rewrites the one rule of a fence that moves, several times a second for as long as an identity is held. Its two
// transactions are made once and sent as they are, the deadline filled in: the library would build them anew, ask for
// three answers to each and wait for them by way of the runtime's poller.
type late struct {
	nft  *filter
	shut []byte
	open []byte
	at   int // where the deadline stands in open
}

// marker stands for the deadline while the transaction is made.
const marker = 0x5aa5c33c0ff06996

func newLate(nft *filter, c *nftables.Chain) (*late, error) {
	shut, err := rewriting(c, []exprAny{drop()})
	if err != nil {
		return nil, err
	}
	open, err := rewriting(c, append(afterWall(marker), drop()))
	if err != nil {
		return nil, err
	}
	at := bytes.Index(open, binary.BigEndian.AppendUint64(nil, marker))
	if at < 0 {
		return nil, errors.New("the deadline is not in its own transaction")
	}
	return &late{nft: nft, shut: shut, open: open, at: at}, nil
}

// until lets pass what comes before a point of the wall clock.
func (l *late) until(wall int64) error {
	return l.nft.raw.transact(l.open, func(b []byte) { binary.BigEndian.PutUint64(b[l.at:], uint64(max(wall, 0))) })
}

// never lets nothing pass.
func (l *late) never() error { return l.nft.raw.transact(l.shut, nil) }

// Numbers of linux/netfilter/nfnetlink.h and nf_tables.h.
const (
	nfBatchBegin = unix.NFNL_MSG_BATCH_BEGIN
	nfBatchEnd   = unix.NFNL_MSG_BATCH_END
	nfNewRule    = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE
	nfDelRule    = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELRULE
)

// rewriting makes the transaction that replaces all rules of a chain by one. Only the last message of substance asks for an
// answer; an error is answered in any case.
func rewriting(c *nftables.Chain, rule []exprAny) ([]byte, error) {
	family := byte(c.Table.Family)
	var parts []netlink.Attribute
	for _, e := range rule {
		b, err := expr.Marshal(family, e)
		if err != nil {
			return nil, fmt.Errorf("encoding an nftables rule: %w", err)
		}
		parts = append(parts, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: b})
	}
	body, err := netlink.MarshalAttributes(parts)
	if err != nil {
		return nil, fmt.Errorf("encoding an nftables rule: %w", err)
	}
	chain := []netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: []byte(c.Table.Name + "\x00")},
		{Type: unix.NFTA_RULE_CHAIN, Data: []byte(c.Name + "\x00")},
	}
	whole := append(chain[:2:2], netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_RULE_EXPRESSIONS, Data: body})
	var out []byte
	for _, m := range []struct {
		kind     netlink.HeaderType
		flags    netlink.HeaderFlags
		family   byte
		resource uint16
		attrs    []netlink.Attribute
	}{
		{nfBatchBegin, netlink.Request, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil},
		{nfDelRule, netlink.Request, family, 0, chain},
		{nfNewRule, netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Append, family, 0, whole},
		{nfBatchEnd, netlink.Request, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil},
	} {
		attrs, err := netlink.MarshalAttributes(m.attrs)
		if err != nil {
			return nil, fmt.Errorf("encoding an nftables rule: %w", err)
		}
		data := binary.BigEndian.AppendUint16([]byte{m.family, unix.NFNETLINK_V0}, m.resource) // struct nfgenmsg
		data = append(data, attrs...)
		b, err := netlink.Message{
			Header: netlink.Header{Length: uint32(unix.NLMSG_HDRLEN + len(data)), Type: m.kind, Flags: m.flags},
			Data:   data,
		}.MarshalBinary() // the sequence number is filled in when it is sent
		if err != nil {
			return nil, fmt.Errorf("encoding an nftables rule: %w", err)
		}
		out = append(out, b...)
	}
	return out, nil
}

// rawSocket is a netlink socket without a library in between. The kernel carries out a transaction before sendto(2) returns
// and has queued its answer then, so nothing ever waits.
type rawSocket struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte // a transaction on its way, then its answers
}

func openRaw() (*rawSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("opening nfnetlink: %w", err)
	}
	return &rawSocket{fd: fd, buf: make([]byte, 8192)}, nil
}

func (s *rawSocket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}

// errNoAnswer is what a transaction ends with that the kernel neither confirmed nor refused.
var errNoAnswer = errors.New("the kernel gave no answer")

// transact sends a transaction, after fill has completed a copy of it, and gives the kernel's verdict.
func (s *rawSocket) transact(message []byte, fill func([]byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	b := append(s.buf[:0], message...)
	if fill != nil {
		fill(b)
	}
	number(b, s.seq)
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("sending to nfnetlink: %w", err)
	}
	return s.verdict()
}

// number puts a sequence number into every message of a transaction. The kernel looks for the next one at a multiple of 4,
// and every length is one.
func number(b []byte, seq uint32) {
	for at := 0; at < len(b); at += int(binary.NativeEndian.Uint32(b[at:])) {
		binary.NativeEndian.PutUint32(b[at+8:], seq)
	}
}

// verdict reads the answers to the transaction that was sent last; those to earlier ones, which nobody waited for, are dropped.
func (s *rawSocket) verdict() error {
	answered := false
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf[:cap(s.buf)], 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN) && answered:
			return nil
		case errors.Is(err, unix.EAGAIN):
			return errNoAnswer
		case err != nil:
			return fmt.Errorf("reading from nfnetlink: %w", err)
		}
		about, code, ok := parseVerdict(s.buf[:n])
		if !ok || about != s.seq {
			continue
		}
		if code != 0 {
			return fmt.Errorf("nfnetlink: %w", code) // what else is queued is about this transaction; the next one drops it
		}
		answered = true
	}
}

// parseVerdict reads an NLMSG_ERROR, which also confirms (netlink(7)).
func parseVerdict(b []byte) (seq uint32, code unix.Errno, ok bool) {
	if len(b) < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return 0, 0, false
	}
	return binary.NativeEndian.Uint32(b[8:]), unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:]))), true
}

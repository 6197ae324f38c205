package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// filter is the way to nftables: one lasting socket, one batch at a time, and one for what is hurried.
type filter struct {
	mu   sync.Mutex
	conn *nftables.Conn
	raw  *rawSocket
}

func newFilter() (*filter, error) {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	raw, err := openRaw()
	if err != nil {
		return nil, errors.Join(err, c.CloseLasting())
	}
	return &filter{conn: c, raw: raw}, nil
}

func (f *filter) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.conn.CloseLasting(), f.raw.close())
}

// batch builds and commits one transaction: all of it, or nothing. After an error the socket is opened anew, since an
// answer that nobody read may still be queued in the old one.
func (f *filter) batch(build func(c *nftables.Conn)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	build(f.conn)
	err := f.conn.Flush()
	if err == nil {
		return nil
	}
	fresh, nerr := nftables.New(nftables.AsLasting())
	if nerr != nil {
		return errors.Join(err, nerr)
	}
	_ = f.conn.CloseLasting() // broken already
	f.conn = fresh
	return err
}

// tables lists our tables of one family.
func (f *filter) tables(family nftables.TableFamily) ([]*nftables.Table, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn.ListTablesOfFamily(family)
}

// chains names the chains of a table.
func (f *filter) chains(t *nftables.Table) (map[string]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.conn.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return nil, err
	}
	out := make(map[string]bool)
	for _, c := range all {
		if c.Table.Name == t.Name {
			out[c.Name] = true
		}
	}
	return out, nil
}

// has says whether a table has a chain. One that is there costs one question, whatever else there is.
func (f *filter) has(t *nftables.Table, chain string) (bool, error) {
	f.mu.Lock()
	_, err := f.conn.ListChain(t, chain)
	f.mu.Unlock()
	if err == nil {
		return true, nil
	}
	have, err := f.chains(t) // the library does not say whether it is missing, or could not be asked for
	return have[chain], err
}

// rules counts the rules of a chain.
func (f *filter) rules(t *nftables.Table, chain string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.conn.GetRules(t, &nftables.Chain{Name: chain, Table: t})
	return len(r), err
}

// metaTimeNS is NFT_META_TIME_NS of linux/netfilter/nf_tables.h: the wall clock in nanoseconds.
const metaTimeNS = expr.MetaKey(30)

// afterWall matches packets that are handled later than wall, in nanoseconds since 1970. The kernel compares registers byte
// by byte, so the clock is brought into network order first.
func afterWall(wall int64) []expr.Any {
	deadline := make([]byte, 8)
	binary.BigEndian.PutUint64(deadline, uint64(max(wall, 0)))
	return []expr.Any{
		&expr.Meta{Key: metaTimeNS, Register: 1},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 8, Size: 8},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: deadline},
	}
}

func drop() expr.Any { return &expr.Verdict{Kind: expr.VerdictDrop} }

func jump(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }

// loadSourceMAC reads who sent the frame.
func loadSourceMAC() []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6}}
}

// etherSource matches frames from a MAC.
func etherSource(mac []byte) []expr.Any {
	return join(loadSourceMAC(), []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: mac}})
}

// etherType matches the protocol of the frame.
func etherType(t uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(t)},
	}
}

// load reads bytes of the network header.
func load(offset, length uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}}
}

// network matches bytes of the network header.
func network(offset uint32, data []byte) []expr.Any {
	return join(load(offset, uint32(len(data))), []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}})
}

// Offsets of addresses in headers: IPv4 source (RFC 791), IPv6 source (RFC 8200), ARP sender IPv4 (RFC 826), target of an
// ICMPv6 neighbour message behind an IPv6 header without extensions (RFC 4861).
const (
	ip4Source, ip4Dest = 12, 16
	ip6Source, ip6Dest = 8, 24
	ip6Next            = 6
	arpSender          = 14
	icmp6Type          = 40
	ndTarget           = 48
)

// claims gives the matches of every frame that claims an address: IP from it, ARP or neighbour discovery about it.
func claims(a netip.Addr) [][]expr.Any {
	if a.Is4() {
		return [][]expr.Any{
			join(etherType(unix.ETH_P_IP), network(ip4Source, a.AsSlice())),
			join(etherType(unix.ETH_P_ARP), network(arpSender, a.AsSlice())),
		}
	}
	return [][]expr.Any{
		join(etherType(unix.ETH_P_IPV6), network(ip6Source, a.AsSlice())),
		join(advertisements(), network(ndTarget, a.AsSlice())),
	}
}

// advertisements matches neighbour advertisements (RFC 4861 section 4.4).
func advertisements() []expr.Any {
	return join(etherType(unix.ETH_P_IPV6), network(ip6Next, []byte{unix.IPPROTO_ICMPV6}), network(icmp6Type, []byte{136}))
}

func join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

type exprAny = expr.Any

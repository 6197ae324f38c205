package identity

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Answer is what a front does with connection attempts to one port instead of swallowing them.
type Answer struct {
	Port uint16
	UDP  bool
	// Divert4 and Divert6 are the ports on 127.0.0.1 and ::1 at which a program of this host takes the connections (TCP only;
	// its listeners are transparent). 0 and 0: attempts are refused at once, with a reset or, for UDP, "port unreachable".
	Divert4, Divert6 uint16
}

func (a Answer) refuses() bool { return a.Divert4 == 0 && a.Divert6 == 0 }

const (
	// answerChain has what the guard does before it drops.
	answerChain = "answer"
	// Names of the sets of flows that began here, by family: client address, client port, port.
	flowSet4, flowSet6 = "flows4", "flows6"
	// flowIdle is how long a flow that began here may be silent. Whoever takes connections sends keepalives more often.
	flowIdle = 5 * time.Minute
	// flowsMost bounds them. Further attempts are swallowed.
	flowsMost = 8192
)

// Answer says what is done, while the guard is on, with attempts to some ports; all else is dropped. Only what begins here is
// answered: a segment of a connection that a sleeping target knows is dropped on these ports as well, since an answer would
// end it. Clients on this host itself are swallowed on all ports. The flows that began here go on over a call.
func (p *Hold) Answer(list []Answer) error {
	p.mu.Lock()
	same, first := slices.Equal(p.answers, list), p.answers == nil
	guarded := p.guarded
	p.mu.Unlock()
	if same {
		return nil
	}
	err := p.host.nft.batch(func(c *nftables.Conn) {
		if first {
			p.answerSets(c, p.guard)
		}
		p.guardRules(c, p.guard, guarded, list)
	})
	if err != nil {
		return fmt.Errorf("having %s answered: %w", p.spec.Service, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = append([]Answer{}, list...) // not nil: the sets are there
	return nil
}

// answerSets makes the chain and the sets of flows.
func (p *Hold) answerSets(c *nftables.Conn, t *nftables.Table) {
	c.AddChain(&nftables.Chain{Name: answerChain, Table: t})
	for name, kind := range map[string]nftables.SetDatatype{flowSet4: nftables.TypeIPAddr, flowSet6: nftables.TypeIP6Addr} {
		// The error is about elements, of which there are none.
		_ = c.AddSet(&nftables.Set{
			Table: t, Name: name, Dynamic: true, HasTimeout: true, Timeout: flowIdle, Size: flowsMost, Concatenation: true,
			KeyType: nftables.MustConcatSetType(kind, nftables.TypeInetService, nftables.TypeInetService),
		}, nil)
	}
}

// answerRules fills the chain.
func (p *Hold) answerRules(c *nftables.Conn, t *nftables.Table, list []Answer) {
	chain := &nftables.Chain{Name: answerChain, Table: t}
	c.FlushChain(chain)
	add := func(parts ...[]expr.Any) { c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: join(parts...)}) }
	for _, addr := range p.spec.Addrs {
		fam := answered4
		if addr.Is6() {
			fam = answered6
		}
		for _, a := range list {
			proto := byte(unix.IPPROTO_TCP)
			if a.UDP {
				proto = unix.IPPROTO_UDP
			}
			to := endpoint(proto, netip.AddrPortFrom(addr, a.Port))
			switch divert := fam.divert(a); {
			case a.refuses() && a.UDP:
				add(to, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}})
			case a.refuses():
				add(to, opening(), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
			case divert != 0:
				add(to, opening(), fam.flow(), []expr.Any{fam.remember()})
				add(to, fam.flow(), []expr.Any{&expr.Lookup{SourceRegister: flowKey, SetName: fam.set}, fam.remember()}, fam.tproxy(divert))
			}
		}
	}
}

// answered is what differs between the families.
type answered struct {
	proto    byte
	source   uint32 // offset of the address in the header
	length   uint32 // of an address
	set      string
	loopback []byte
}

var (
	answered4 = answered{unix.NFPROTO_IPV4, ip4Source, 4, flowSet4, []byte{127, 0, 0, 1}}
	answered6 = answered{unix.NFPROTO_IPV6, ip6Source, 16, flowSet6, []byte{15: 1}}
)

func (f answered) divert(a Answer) uint16 {
	if f.proto == unix.NFPROTO_IPV4 {
		return a.Divert4
	}
	return a.Divert6
}

// flowKey is NFT_REG32_00 of linux/netfilter/nf_tables.h, the first of the registers of four bytes: the parts of a key that is
// put together stand in as many of them as they need, one after the other.
const flowKey = 8

// flow loads a packet's client address, client port and port as a key.
func (f answered) flow() []expr.Any {
	ports := flowKey + f.length/4
	return []expr.Any{
		&expr.Payload{DestRegister: flowKey, Base: expr.PayloadBaseNetworkHeader, Offset: f.source, Len: f.length},
		&expr.Payload{DestRegister: ports, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		&expr.Payload{DestRegister: ports + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

// remember notes that the flow of the loaded key began here, or goes on. A full set ends the rule.
func (f answered) remember() expr.Any {
	return &expr.Dynset{SrcRegKey: flowKey, SetName: f.set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: flowIdle}
}

// tproxy hands the packet to the listener on the loopback address, or to its connection.
func (f answered) tproxy(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: f.loopback},
		&expr.Immediate{Register: 2, Data: []byte{byte(port >> 8), byte(port)}},
		&expr.TProxy{Family: f.proto, TableFamily: unix.NFPROTO_INET, RegAddr: 1, RegPort: 2},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// ofFamily matches packets of one family.
func ofFamily(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// opening matches the segment that begins a connection: SYN, and none of ACK, RST and FIN (RFC 9293, section 3.1).
func opening() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x17}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x02}},
	}
}

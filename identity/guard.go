package identity

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// guardChain drops what a front must not answer, startChain what a target must not refuse.
const (
	guardChain = "guard"
	startChain = "starting"
)

// ports are endpoints of an identity.
type ports struct{ tcp, udp []netip.AddrPort }

func (s ports) count() int { return len(s.tcp) + len(s.udp) }

// makeGuard puts the guard's table in place. It hooks before connection tracking, and before any rule of the host's own
// firewall that might answer (nftables priority raw is -300).
func (p *Hold) makeGuard(on bool) error {
	p.mu.Lock()
	answers, shut := p.answers, p.starting
	p.mu.Unlock()
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: tablePrefix + p.link[len(linkPrefix):]}
	err := p.host.nft.batch(func(c *nftables.Conn) {
		c.AddTable(t)
		c.DelTable(t)
		c.AddTable(t)
		c.AddChain(&nftables.Chain{
			Name: guardChain, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting,
			Priority: nftables.ChainPriorityRef(-310),
		})
		if answers != nil {
			p.answerSets(c, t)
		}
		p.guardRules(c, t, on, answers)
		p.startRules(c, t, shut)
	})
	if err != nil {
		return fmt.Errorf("building the guard of %s: %w", p.spec.Service, err)
	}
	p.guard = t
	p.mu.Lock()
	defer p.mu.Unlock()
	p.guarded = on
	return nil
}

func (p *Hold) guardRules(c *nftables.Conn, t *nftables.Table, on bool, answers []Answer) {
	chain := &nftables.Chain{Name: guardChain, Table: t}
	c.FlushChain(chain)
	if !on {
		return
	}
	if len(answers) > 0 {
		p.answerRules(c, t, answers)
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: join(arrivesOn(p.Link()), []expr.Any{jump(answerChain)})})
	}
	for _, a := range p.spec.Addrs {
		for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: join(
				destination(a),
				[]expr.Any{
					&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
					drop(),
				},
			)})
		}
	}
}

// arrivesOn matches packets that came in by an interface.
func arrivesOn(link string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
	}
}

// startRules drop the first segments of connections, and datagrams, to some endpoints. They stand at the very end of the way in, where
// nothing is left but this host's own sockets: what the host's own firewall leads elsewhere (a container, a proxy) has been led there,
// and connections that exist go on.
func (p *Hold) startRules(c *nftables.Conn, t *nftables.Table, shut ports) {
	chain := c.AddChain(&nftables.Chain{ // an older program did not make it
		Name: startChain, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRef(310),
	})
	c.FlushChain(chain)
	for _, to := range shut.tcp {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: join(endpoint(unix.IPPROTO_TCP, to), opening(), []expr.Any{drop()})})
	}
	for _, to := range shut.udp {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: join(endpoint(unix.IPPROTO_UDP, to), []expr.Any{drop()})})
	}
}

// destination matches packets to an address.
func destination(a netip.Addr) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), uint32(ip4Dest)
	if a.Is6() {
		family, offset = unix.NFPROTO_IPV6, ip6Dest
	}
	return join(ofFamily(family), network(offset, a.AsSlice()))
}

// endpoint matches packets of a protocol to an address and a port.
func endpoint(proto byte, to netip.AddrPort) []expr.Any {
	return join(destination(to.Addr()), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, to.Port())},
	})
}

// GuardPorts says at which endpoints of the identity nobody listens yet: attempts to connect there, and datagrams, are dropped and not
// refused. It takes the place of what was said before.
func (p *Hold) GuardPorts(tcp, udp []netip.AddrPort) error {
	shut := ports{slices.Clone(tcp), slices.Clone(udp)}
	p.mu.Lock()
	same := slices.Equal(p.starting.tcp, tcp) && slices.Equal(p.starting.udp, udp)
	p.mu.Unlock()
	if same { // as with nearly every service that begins: nothing is to be told to the kernel
		return nil
	}
	if err := p.host.nft.batch(func(c *nftables.Conn) { p.startRules(c, p.guard, shut) }); err != nil {
		return fmt.Errorf("guarding the ports of %s at which nobody listens: %w", p.spec.Service, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting = shut
	return nil
}

// Guard switches the guard: on, every TCP and UDP packet to ip0 is dropped, on whatever port and from wherever, this host
// itself included; nothing on this host can answer it, neither with data nor with a reset (I5), but for what Answer says.
func (p *Hold) Guard(on bool) error {
	p.mu.Lock()
	answers := p.answers
	p.mu.Unlock()
	if err := p.host.nft.batch(func(c *nftables.Conn) { p.guardRules(c, p.guard, on, answers) }); err != nil {
		return fmt.Errorf("switching the guard of %s: %w", p.spec.Service, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.guarded = on
	return nil
}

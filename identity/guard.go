package identity

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// guardChain drops what a front must not answer.
const guardChain = "guard"

// makeGuard puts the guard's table in place. It hooks before connection tracking, and before any rule of the host's own
// firewall that might answer (nftables priority raw is -300).
func (p *Hold) makeGuard(on bool) error {
	p.mu.Lock()
	answers := p.answers
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
		family, offset := byte(unix.NFPROTO_IPV4), uint32(ip4Dest)
		if a.Is6() {
			family, offset = unix.NFPROTO_IPV6, ip6Dest
		}
		for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: join(
				ofFamily(family),
				network(offset, a.AsSlice()),
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

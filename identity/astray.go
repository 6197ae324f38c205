package identity

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The second half of the seal: what this host sends with ip0 as its source goes by the LAN interface or not at all. Policy routing
// says so too, but the kernel sends by the interface that a socket is bound to although the lookup failed, and by any when the
// rule is gone with the identity. What this host forwards is not its own and passes: the holder may be behind another of its interfaces.

// astrayChain is in an inet table with the name of the seal. Its sets have every address that is known, sealed or behind a fence.
const astrayChain = "astray"

func astrayTable() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: sealTable}
}

// astraySets are the sets of IPv4 and IPv6 addresses.
func astraySets(t *nftables.Table) []*nftables.Set { return sealSets(t)[1:] }

// addAstray puts the table in place of what there was, in a transaction.
func (s *seal) addAstray(c *nftables.Conn, keys []string) error {
	t := astrayTable()
	c.AddTable(t)
	c.DelTable(t)
	if len(keys) == 0 {
		return nil
	}
	c.AddTable(t)
	sets := astraySets(t)
	for _, set := range sets {
		if err := c.AddSet(set, elementsOf(keys, int(set.KeyType.Bytes))); err != nil {
			return err
		}
	}
	chain := c.AddChain(&nftables.Chain{
		Name: astrayChain, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput,
		Priority: nftables.ChainPriorityRef(300), // behind whatever changes the route
	})
	for _, r := range astrayRules(s.lower, sets) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: r})
	}
	return nil
}

func astrayRules(lower string, sets []*nftables.Set) [][]exprAny {
	accept := []exprAny{&expr.Verdict{Kind: expr.VerdictAccept}}
	return [][]exprAny{
		join(outBy(lower+"\x00"), accept),
		join(outBy("lo\x00"), accept),
		join(outBy(linkPrefix), accept),
		join(internet(unix.NFPROTO_IPV4), load(ip4Source, 4), in(sets[0]), []exprAny{drop()}),
		join(internet(unix.NFPROTO_IPV6), load(ip6Source, 16), in(sets[1]), []exprAny{drop()}),
	}
}

// outBy matches the beginning of the interface's name; a whole name ends with a zero byte.
func outBy(name string) []exprAny {
	return []exprAny{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(name)},
	}
}

// internet matches the version of IP.
func internet(family byte) []exprAny {
	return []exprAny{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
	}
}

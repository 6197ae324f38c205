package lab

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const cutTable = "lab_cut"

// patchPanel holds the cuts. Paths are broken where the bridge forwards, so that the hosts and their links notice
// nothing, as with a switch that has failed; cables are pulled by taking the bridge port down.
type patchPanel struct {
	mu   sync.Mutex
	cuts []Cut
}

func (p *patchPanel) list() []Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Cut{}, p.cuts...)
}

// pulled tells whether the cable of the place is out: a host that starts then gets no link.
func (p *patchPanel) pulled(name string) bool {
	return slices.ContainsFunc(p.list(), func(c Cut) bool { return c.Cable && c.From == name })
}

func (p *patchPanel) cut(c Cut) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.cuts, c) {
		return nil
	}
	if c.Cable {
		if err := setCarrier(c.From, false); err != nil {
			return err
		}
	}
	return p.set(append(slices.Clone(p.cuts), c))
}

// heal mends what touches the place; "" stands for all.
func (p *patchPanel) heal(place string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []Cut
	var errs []error
	for _, c := range p.cuts {
		switch {
		case place != "" && c.From != place && c.To != place:
			left = append(left, c)
		case c.Cable:
			// A host that is off has no link to connect; it gets one when it starts.
			if err := setCarrier(c.From, true); err != nil && !missingLink(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, p.set(left))...)
}

// set replaces all rules in one transaction.
func (p *patchPanel) set(cuts []Cut) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables in the switch: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyBridge, Name: cutTable}
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	chain := c.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	for _, cut := range cuts {
		if cut.Cable {
			continue
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: dropPath(cut.From, cut.To)})
		if !cut.OneWay {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: dropPath(cut.To, cut.From)})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set the switch's rules (nftables, bridge family): %w", err)
	}
	p.cuts = cuts
	return nil
}

// dropPath drops frames that come in at port from and leave at port to; "" stands for any.
func dropPath(from, to string) []expr.Any {
	var exprs []expr.Any
	for _, m := range []struct {
		key  expr.MetaKey
		port string
	}{{expr.MetaKeyIIFNAME, from}, {expr.MetaKeyOIFNAME, to}} {
		if m.port == "" {
			continue
		}
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, m.port)
		exprs = append(exprs, &expr.Meta{Key: m.key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name})
	}
	return append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})
}

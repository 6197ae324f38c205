package lab

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// fabric is what joins the cables: one of the two forms of the lab's switch. Its methods may be called from any goroutine
// of the supervisor.
type fabric interface {
	// plugIn lays a cable from the switch to a new space: the port has the host's name and a number that stays the same
	// for ever, the host's end is eth0.
	plugIn(s *space, p plug) error
	// unplug removes the cable and with it both ends.
	unplug(p plug) error
	// treat sets which paths are cut (cables left out) and how the others are treated, in the place of what was set before.
	treat(cuts []Cut, shapes []Shape) error
	close()
}

func newFabric(kind string) (fabric, error) {
	if err := quietSwitch(); err != nil {
		return nil, err
	}
	if kind == SwitchUser {
		return newUserSwitch()
	}
	if err := buildBridge(); err != nil {
		return nil, err
	}
	return bridge{}, nil
}

// bridge is the kernel's switch. Paths are broken where it forwards, so that the hosts and their links notice nothing, as
// with a switch that has failed.
type bridge struct{}

func (bridge) plugIn(s *space, p plug) error {
	if err := layCable(s, p); err != nil {
		return err
	}
	return joinBridge(p)
}

func (bridge) unplug(p plug) error { return removeCable(p) }

func (bridge) close() {}

// treat replaces all rules in one transaction.
func (bridge) treat(cuts []Cut, shapes []Shape) error {
	for _, s := range shapes {
		if s.Duplicate != 0 || s.Reorder != 0 || s.Delay != 0 || s.Jitter != 0 {
			return fmt.Errorf("the bridge can only lose frames: to delay, double or reorder them, build the lab with `--switch %s`", SwitchUser)
		}
	}
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
	rule := func(from, to string, do ...expr.Any) {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(onPath(from, to), do...)})
	}
	drop, accept := &expr.Verdict{Kind: expr.VerdictDrop}, &expr.Verdict{Kind: expr.VerdictAccept}
	for _, cut := range cuts {
		rule(cut.From, cut.To, drop)
		if !cut.OneWay {
			rule(cut.To, cut.From, drop)
		}
	}
	for _, s := range shapes { // the most exact one comes first and ends the search
		rule(s.From, s.To, append(byChance(s.Loss), drop)...)
		rule(s.From, s.To, accept)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set the switch's rules (nftables, bridge family): %w", err)
	}
	return nil
}

// onPath matches frames that come in at port from and leave at port to; "" stands for any.
func onPath(from, to string) []expr.Any {
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
	return exprs
}

// byChance matches a share of the frames, in millionths. The kernel compares bytes, so its number is turned around first.
func byChance(share float64) []expr.Any {
	const million = 1_000_000
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: million, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(uint32(share * million))},
	}
}

package lab

import (
	"fmt"

	"github.com/google/nftables"
)

// standbyTable is not called nightporter anything, which agents clean away when they start.
const standbyTable = "lab_standby"

// silence makes the host's card a card in standby, or ends that: every frame is dropped in both directions right at the
// card, below ARP, below every macvlan and below every rule of the host's own, in one transaction. The wake logic taps
// the card before the drop, as the real one sits before the machine.
func silence(s *space, on bool) error {
	return s.do(func() error {
		c, err := nftables.New()
		if err != nil {
			return fmt.Errorf("open nftables in %s: %w", s.name, err)
		}
		table := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: standbyTable}
		if on {
			dropAll(c, table)
		} else {
			c.DelTable(table)
		}
		if err := c.Flush(); err != nil {
			return fmt.Errorf("set the standby of %s to %v (nftables, netdev hooks, Linux 5.16 or later): %w", s.name, on, err)
		}
		return nil
	})
}

func dropAll(c *nftables.Conn, table *nftables.Table) {
	c.AddTable(table)
	drop := nftables.ChainPolicyDrop
	first := nftables.ChainPriority(-500)
	for name, hook := range map[string]*nftables.ChainHook{"in": nftables.ChainHookIngress, "out": nftables.ChainHookEgress} {
		c.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &first, Policy: &drop, Device: hostIface,
		})
	}
}

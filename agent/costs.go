package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"

	"nightporter/identity"
)

// FenceCosts measures what the kernel's fence costs on an interface of a host that runs no agent, against a peer that answers
// datagrams and lines, and writes that as JSON.
func FenceCosts(w io.Writer, link string, ip0 netip.Addr, peer netip.AddrPort, rounds int) error {
	s := identity.Spec{Service: "costs", MAC: net.HardwareAddr{0x02, 0, 0, 0, 0xc0, 0x57}, Addrs: []netip.Addr{ip0}}
	costs, err := identity.MeasureFence(link, s, peer, rounds)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(w).Encode(costs); err != nil {
		return fmt.Errorf("writing the costs: %w", err)
	}
	return nil
}

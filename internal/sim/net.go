package sim

import (
	"log/slog"
	"net"
	"net/netip"

	"nightporter/agent"
	"nightporter/cluster"
	"nightporter/internal/simnet"
)

// localPort stands for the admin socket.
const localPort = 1

// lifeNet opens the sockets of one life of the daemon. What runs over them is real.
type lifeNet struct{ proc *simnet.Process }

// Local implements agent.Net.
func (n lifeNet) Local(string, string) (net.Listener, error) { return n.proc.Listen(localPort) }

// Gossip implements agent.Net.
func (n lifeNet) Gossip(c cluster.GossipConfig) (*cluster.Gossip, error) {
	t, err := n.proc.Packets(c.Bind.Port())
	if err != nil {
		return nil, err
	}
	c.Transport = t
	return cluster.StartGossip(c)
}

// Peers implements agent.Net.
func (n lifeNet) Peers(bind netip.AddrPort, id *cluster.Identity, dir cluster.Directory, log *slog.Logger) (agent.Peers, error) {
	l, err := n.proc.Listen(bind.Port())
	if err != nil {
		return nil, err
	}
	return cluster.NewTransport(l, n.proc.DialContext, id, dir, log), nil
}

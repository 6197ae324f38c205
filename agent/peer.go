package agent

import (
	"context"
	"net"

	"nightporter/api"
)

// peer asks the agent of another node.
func (a *parts) peer(node string) *api.Client {
	return api.NewClientFunc("the agent on "+node, func(ctx context.Context) (net.Conn, error) {
		return a.peers.DialAPI(ctx, node)
	})
}

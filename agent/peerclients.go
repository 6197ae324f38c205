package agent

import (
	"context"
	"net"
	"sync"

	"nightporter/api"
)

// peerClients keeps one client for each node that was asked, so that its connection is used again.
type peerClients struct {
	dial func(ctx context.Context, node string) (net.Conn, error)

	mu  sync.Mutex
	all map[string]*api.Client
}

func (c *peerClients) to(node string) *api.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[string]*api.Client)
	}
	if c.all[node] == nil {
		c.all[node] = api.NewClientFunc("the agent on "+node, func(ctx context.Context) (net.Conn, error) { return c.dial(ctx, node) })
	}
	return c.all[node]
}

// Close gives up the idle connections.
func (c *peerClients) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.all {
		one.Close()
	}
	return nil
}

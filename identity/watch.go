package identity

import (
	"context"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// Watch gives a token when something of ours, or the LAN interface, may have been changed: links, addresses, routes, policy
// rules' tables and nftables. It is a hint; Check finds out. The channel is closed when ctx ends or the kernel's
// notifications cannot be had; Check then runs on its own schedule.
func (h *Host) Watch(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	routes := make(chan netlink.RouteUpdate, 64)
	done := ctx.Done()
	quiet := func(error) {}
	err1 := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: quiet})
	err2 := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: quiet})
	err3 := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: quiet})
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			h.log.Warn("changes of the network are not notified; they are found by looking", "err", err)
		}
	}
	rules := h.watchTables(ctx)
	go func() {
		defer close(out)
		for {
			ours := false
			select {
			case <-ctx.Done():
				return
			case u, ok := <-links:
				if !ok {
					links = nil
				}
				ours = ok && u.Link != nil && h.concerns(u.Link.Attrs().Name)
			case _, ok := <-addrs:
				if !ok {
					addrs = nil
				}
				ours = ok
			case u, ok := <-routes:
				if !ok {
					routes = nil
				}
				ours = ok && u.Type == 25 // RTM_DELROUTE: somebody took one away
			case _, ok := <-rules:
				if !ok {
					rules = nil
				}
				ours = ok
			}
			if ours {
				select {
				case out <- struct{}{}:
				default:
				}
			}
		}
	}()
	return out
}

func (h *Host) concerns(link string) bool {
	return link == h.lower || strings.HasPrefix(link, linkPrefix)
}

// watchTables gives a token when a table or chain was deleted. Rules are rewritten with each renewal, so they are not
// watched.
func (h *Host) watchTables(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	conn, err := nftables.New()
	if err != nil {
		close(out)
		return out
	}
	monitor := nftables.NewMonitor(nftables.WithMonitorAction(nftables.MonitorActionDel), nftables.WithMonitorObject(nftables.MonitorObjectTables))
	events, err := conn.AddMonitor(monitor)
	if err != nil {
		h.log.Warn("a flush of nftables is not notified; it is found by looking", "err", err)
		close(out)
		return out
	}
	go func() {
		defer close(out)
		defer monitor.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case _, ok := <-events:
				if !ok {
					return
				}
				select {
				case out <- struct{}{}:
				default:
				}
			case <-time.After(time.Hour):
			}
		}
	}()
	return out
}

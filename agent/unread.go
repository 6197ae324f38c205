package agent

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"nightporter/lease"
)

// unread remembers from where messages came that no key of this host reads: of a host with another secret, or another cluster's name.
type unread struct {
	mu   sync.Mutex
	last map[netip.Addr]lease.Boot
}

// unreadMost bounds it: anybody in the LAN can send such a message, from any address.
const unreadMost = 64

func (u *unread) note(from netip.Addr, now lease.Boot) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.last, func(_ netip.Addr, at lease.Boot) bool { return now.Sub(at) >= conflictLasts })
	if _, known := u.last[from]; !known && len(u.last) >= unreadMost {
		return
	}
	if u.last == nil {
		u.last = make(map[netip.Addr]lease.Boot)
	}
	u.last[from] = now
}

// since are the addresses of the last minute, sorted.
func (u *unread) since(now lease.Boot) []netip.Addr {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []netip.Addr
	for from, at := range u.last {
		if now.Sub(at) < conflictLasts {
			out = append(out, from)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

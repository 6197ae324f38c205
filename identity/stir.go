package identity

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Stir says to whose identities something may have happened. It is a hint; Check finds out.
type Stir struct {
	All      bool
	Services []string // unless it is all of them, in order
}

// whom is what one notification concerns; the zero value is nobody.
type whom struct {
	all     bool
	service string
}

func (w whom) anybody() bool { return w.all || w.service != "" }

var everybody = whom{all: true}

// prepared is an identity of this host, as notifications name it.
type prepared struct {
	service string
	table   int
	addrs   []netip.Addr
	left    time.Time // when nothing of it was here any more; zero = it is here
}

// leftFor is how long notifications about an identity that has gone are still about that one: they come a moment later.
const leftFor = time.Second

// notes remembers an identity from before anything of it is there until nothing is.
func (h *Host) notes(link string, s Spec, table int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for other, p := range h.prepared {
		if !p.left.IsZero() && time.Since(p.left) > leftFor {
			delete(h.prepared, other)
		}
	}
	h.prepared[link] = prepared{service: s.Service, table: table, addrs: s.Addrs}
}

// owns finds the identity that something belongs to. What belongs to none that is prepared concerns nobody.
func (h *Host) owns(is func(link string, p prepared) bool) whom {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := whom{}
	for link, p := range h.prepared {
		if !is(link, p) {
			continue
		}
		if p.left.IsZero() {
			return whom{service: p.service}
		}
		if time.Since(p.left) <= leftFor {
			was = whom{service: p.service}
		}
	}
	return was
}

func (h *Host) ownsLink(name string) whom {
	h.mu.Lock()
	defer h.mu.Unlock()
	return whom{service: h.prepared[name].service}
}

func (h *Host) ownsTable(n int) whom {
	return h.owns(func(_ string, p prepared) bool { return p.table == n })
}

// ownsAddr is for what happens on the LAN interface: an address that no identity has is its own, and concerns all.
func (h *Host) ownsAddr(a netip.Addr) whom {
	if w := h.owns(func(_ string, p prepared) bool { return slices.Contains(p.addrs, a) }); w.anybody() {
		return w
	}
	return everybody
}

// ownsPriority is for filters on the LAN interface: one at another priority may come before ours.
func (h *Host) ownsPriority(n uint16) whom {
	if !ourPriority(n) {
		return everybody
	}
	return h.ownsTable(firstTable + int(n) - lowerPriority)
}

func ourPriority(n uint16) bool { return n >= lowerPriority && int(n) < lowerPriority+tablesMost }

// ownsDigits is for nftables' tables, which are named like links.
func (h *Host) ownsDigits(table string) whom {
	if table == sealTable {
		return everybody // the watch mends it
	}
	return h.ownsLink(linkPrefix + strings.TrimPrefix(table, tablePrefix))
}

// stirs gathers what was notified until somebody takes it.
type stirs struct {
	mu   sync.Mutex
	all  bool
	some map[string]bool
}

func (s *stirs) add(w whom) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = s.all || w.all
	if w.service != "" {
		if s.some == nil {
			s.some = make(map[string]bool)
		}
		s.some[w.service] = true
	}
}

func (s *stirs) take() Stir {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stir{All: s.all}
	for service := range s.some {
		if !s.all {
			out.Services = append(out.Services, service)
		}
	}
	s.all, s.some = false, nil
	slices.Sort(out.Services)
	return out
}

const (
	// watchGap is the least pause between two stirs: a storm of changes costs one look at it each time, not one per change. A look at
	// many identities takes its time (half a millisecond each), so it is longer with them: once more for each watchShare.
	watchGap   = 50 * time.Millisecond
	watchShare = 10
)

// gap is the pause after a stir.
func (w *watcher) gap(s Stir) time.Duration {
	n := len(s.Services)
	if s.All {
		n = w.host.count()
	}
	return watchGap * time.Duration(1+n/watchShare)
}

// relay hands on what was notified, with a pause after each; what happens in the pause is told together after it.
func (w *watcher) relay(ctx context.Context, out chan<- Stir) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.raw:
		}
		s := w.stirs.take()
		gap := w.gap(s)
		if err := w.host.seal.mend(); err != nil {
			w.host.log.Warn("identities that are not prepared here may leave this host", "err", err)
			gap = renewAfter
			w.ring(everybody)
		}
		select {
		case out <- s:
		case <-ctx.Done():
			return
		}
		if !pause(ctx, gap) {
			return
		}
	}
}

// count is the number of identities that are prepared.
func (h *Host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.tables)
}

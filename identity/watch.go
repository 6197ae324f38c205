package identity

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// watchGap is the least pause between two tokens: a storm of changes costs one look at it each time, not one per change. A look at
	// many identities takes its time (half a millisecond each), so it is longer with them: once more for each watchShare.
	watchGap   = 50 * time.Millisecond
	watchShare = 10
	// renewAfter is the pause before a subscription that ended is made anew.
	renewAfter = 250 * time.Millisecond
	// watchBuffer is asked for each subscription's socket; the kernel gives at most net.core.rmem_max.
	watchBuffer = 1 << 20
)

// Watch gives a token when something of ours, or of the LAN interface, may have been changed: links, addresses, policy rules,
// nftables, our routes, and those of the LAN interface, which the identities' own tables copy. It is a hint; Check finds
// out. The first token comes at once, and one more whenever notifications may have been missed. At most one comes within
// watchGap. The channel is closed when ctx ends.
//
// The seal is nobody's identity, so nobody checks it: the watch mends it itself.
func (h *Host) Watch(ctx context.Context) <-chan struct{} {
	w := &watcher{host: h, raw: make(chan struct{}, 1), links: make(map[int32]string)}
	out := make(chan struct{}, 1)
	var running sync.WaitGroup
	for _, f := range []feed{w.network(), w.filters()} {
		s, err := f.open() // here, not in the goroutine: a subscription belongs to the network namespace of its thread
		if err != nil {
			h.log.Warn("changes of "+f.what+" are not notified; they are found by looking, until that can be had", "err", err)
		}
		running.Go(func() { w.follow(ctx, f, s) })
	}
	running.Go(func() { w.relay(ctx, out) })
	go func() {
		running.Wait()
		close(out)
	}()
	w.ring()
	return out
}

// watcher is one Watch.
type watcher struct {
	host  *Host
	raw   chan struct{}
	links map[int32]string // the LAN interface and ours, by index; only the goroutine of the network's feed reads it
}

// feed is one subscription.
type feed struct {
	what     string
	open     func() (*nl.NetlinkSocket, error)
	begin    func() // called whenever notifications may have been missed
	concerns func(syscall.NetlinkMessage) bool
}

func (w *watcher) ring() {
	select {
	case w.raw <- struct{}{}:
	default:
	}
}

// relay hands the tokens on, with a pause after each; what happens in the pause is one token after it.
func (w *watcher) relay(ctx context.Context, out chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.raw:
		}
		gap := watchGap * time.Duration(1+w.host.count()/watchShare)
		if err := w.host.seal.mend(); err != nil {
			w.host.log.Warn("identities that are not prepared here may leave this host", "err", err)
			gap = renewAfter
			w.ring()
		}
		select {
		case out <- struct{}{}:
		default:
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

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// follow reads a subscription, and makes it anew when it ends. s is the first one, or nil.
func (w *watcher) follow(ctx context.Context, f feed, s *nl.NetlinkSocket) {
	for {
		if s != nil {
			f.begin()
			err := w.read(ctx, f, s)
			s.Close()
			if ctx.Err() == nil {
				w.host.log.Warn("the notifications of changes of "+f.what+" ended; they are asked for again", "err", err)
			}
		}
		if !pause(ctx, renewAfter) {
			return
		}
		if s, _ = f.open(); s != nil { // why not is what the first attempt said
			w.ring() // whatever happened meanwhile was not told
		}
	}
}

// read handles notifications until the socket fails or ctx ends. An overflow (ENOBUFS) loses notifications but not the
// subscription.
func (w *watcher) read(ctx context.Context, f feed, s *nl.NetlinkSocket) error {
	defer context.AfterFunc(ctx, s.Close)()
	for {
		messages, from, err := s.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			if !pause(ctx, watchGap) { // let the storm pass
				return ctx.Err()
			}
			f.begin()
			w.ring()
			continue
		}
		if err != nil {
			return err
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range messages {
			if f.concerns(m) {
				w.ring()
			}
		}
	}
}

// network is the feed of links, addresses, routes, policy rules and filters of packets.
func (w *watcher) network() feed {
	return feed{
		what: "the network",
		open: func() (*nl.NetlinkSocket, error) {
			return subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
				unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_TC)
		},
		begin: w.list, concerns: w.networkConcerns,
	}
}

// filters is the feed of nftables.
func (w *watcher) filters() feed {
	return feed{
		what:  "nftables",
		open:  func() (*nl.NetlinkSocket, error) { return subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES) },
		begin: func() {}, concerns: tableRemoved,
	}
}

func subscribe(protocol int, groups ...uint) (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(protocol, groups...)
	if err != nil {
		return nil, err
	}
	if err := s.SetReceiveBufferSize(watchBuffer, false); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// list reads which links there are now.
func (w *watcher) list() {
	all, err := w.host.nl.LinkList()
	if err != nil {
		return // the notifications bring them
	}
	clear(w.links)
	for _, l := range all {
		w.note(int32(l.Attrs().Index), l.Attrs().Name)
	}
}

// note remembers a link if it is the LAN interface or ours.
func (w *watcher) note(index int32, name string) bool {
	if name != w.host.lower && !strings.HasPrefix(name, linkPrefix) {
		return false
	}
	w.links[index] = name
	return true
}

func (w *watcher) networkConcerns(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.linkConcerns(m)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return len(m.Data) >= unix.SizeofIfAddrmsg && w.links[int32(binary.NativeEndian.Uint32(m.Data[4:]))] != ""
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return w.routeConcerns(m)
	case unix.RTM_DELRULE:
		return true
	case unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_DELTFILTER, unix.RTM_NEWTFILTER: // the exact fence's
		return len(m.Data) >= sizeofTcMsg && w.links[int32(binary.NativeEndian.Uint32(m.Data[4:]))] != ""
	}
	return false
}

// sizeofTcMsg is that of struct tcmsg (linux/rtnetlink.h); the interface's index is at 4.
const sizeofTcMsg = 20

func (w *watcher) linkConcerns(m syscall.NetlinkMessage) bool {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return false
	}
	index := int32(binary.NativeEndian.Uint32(m.Data[4:]))
	was := w.links[index] != "" // it may have another name now
	delete(w.links, index)
	is := false
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofIfInfomsg:])
	for _, a := range attrs {
		if err == nil && a.Attr.Type == unix.IFLA_IFNAME {
			name := unix.ByteSliceToString(a.Value)
			is = name == w.host.lower || strings.HasPrefix(name, linkPrefix)
			if m.Header.Type == unix.RTM_NEWLINK {
				w.note(index, name)
			}
		}
	}
	return was || is
}

// routeConcerns picks, of all the routes of a host, the main table's by the LAN interface, and what is taken from ours.
// Those that come to ours are our own doing.
func (w *watcher) routeConcerns(m syscall.NetlinkMessage) bool {
	if len(m.Data) < unix.SizeofRtMsg {
		return false
	}
	table, several, name := int(m.Data[4]), false, ""
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtMsg:])
	if err != nil {
		return true // it cannot be told
	}
	for _, a := range attrs {
		switch {
		case a.Attr.Type == unix.RTA_TABLE && len(a.Value) >= 4:
			table = int(binary.NativeEndian.Uint32(a.Value))
		case a.Attr.Type == unix.RTA_OIF && len(a.Value) >= 4:
			name = w.links[int32(binary.NativeEndian.Uint32(a.Value))]
		case a.Attr.Type == unix.RTA_MULTIPATH:
			several = true
		}
	}
	if table == unix.RT_TABLE_MAIN {
		return several || name == w.host.lower
	}
	gone := m.Header.Type == unix.RTM_DELROUTE
	return gone && (ourTable(table) || table == unix.RT_TABLE_LOCAL && name != "")
}

// tableRemoved says whether one of our tables was deleted. Rules are rewritten with each renewal, so they are not watched.
func tableRemoved(m syscall.NetlinkMessage) bool {
	const header = 4 // struct nfgenmsg
	if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE || len(m.Data) < header {
		return false
	}
	attrs, err := nl.ParseRouteAttr(m.Data[header:])
	for _, a := range attrs {
		if a.Attr.Type == unix.NFTA_TABLE_NAME {
			return strings.HasPrefix(unix.ByteSliceToString(a.Value), tablePrefix)
		}
	}
	return err != nil
}

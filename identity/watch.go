package identity

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// renewAfter is the pause before a subscription that ended is made anew.
	renewAfter = 250 * time.Millisecond
	// watchBuffer is asked for each subscription's socket; the kernel gives at most net.core.rmem_max.
	watchBuffer = 1 << 20
)

// Watch tells when something of ours, or of the LAN interface, may have been changed: links, addresses, policy rules,
// nftables, our routes, and those of the LAN interface, which the identities' own tables copy. It is a hint; Check finds
// out. The first one is about all and comes at once, and so is one more whenever notifications may have been missed. At most one comes
// within watchGap. The channel is closed when ctx ends.
//
// The seal is nobody's identity, so nobody checks it: the watch mends it itself.
func (h *Host) Watch(ctx context.Context) <-chan Stir {
	w := &watcher{host: h, raw: make(chan struct{}, 1), links: make(map[int32]string)}
	out := make(chan Stir, 1)
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
	w.ring(everybody)
	return out
}

// watcher is one Watch.
type watcher struct {
	host  *Host
	raw   chan struct{}
	stirs stirs
	links map[int32]string // the LAN interface and ours, by index; only the goroutine of the network's feed reads it
	looks string           // of the LAN interface, as last told; the same
}

// feed is one subscription.
type feed struct {
	what     string
	open     func() (*nl.NetlinkSocket, error)
	begin    func() // called whenever notifications may have been missed
	concerns func(syscall.NetlinkMessage) whom
}

func (w *watcher) ring(about whom) {
	w.stirs.add(about)
	select {
	case w.raw <- struct{}{}:
	default:
	}
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
			w.ring(everybody) // whatever happened meanwhile was not told
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
			w.ring(everybody)
			continue
		}
		if err != nil {
			return err
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range messages {
			if about := f.concerns(m); about.anybody() {
				w.ring(about)
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
		begin: func() {}, concerns: w.tableRemoved,
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
	w.looks = ""
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

func (w *watcher) networkConcerns(m syscall.NetlinkMessage) whom {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.linkConcerns(m)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return w.addrConcerns(m)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return w.routeConcerns(m)
	case unix.RTM_DELRULE:
		return w.ruleConcerns(m)
	case unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_DELTFILTER, unix.RTM_NEWTFILTER: // the exact fence's
		return w.filterConcerns(m)
	}
	return whom{}
}

// on is what happens on an interface as such: on the LAN interface it concerns all.
func (w *watcher) on(name string) whom {
	if name == w.host.lower {
		return everybody
	}
	return w.host.ownsLink(name)
}

func (w *watcher) linkConcerns(m syscall.NetlinkMessage) whom {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return whom{}
	}
	index := int32(binary.NativeEndian.Uint32(m.Data[4:]))
	was := w.links[index] // it may have another name now
	delete(w.links, index)
	is, looks := lookOf(m.Data)
	if m.Header.Type == unix.RTM_NEWLINK {
		w.note(index, is)
		if is == w.host.lower && was == is && looks == w.looks {
			return whom{} // one of ours came or went on it: the kernel tells of the interface below as well
		}
	}
	if is == w.host.lower {
		w.looks = looks
	}
	if about := w.on(is); about.anybody() {
		return about
	}
	return w.on(was)
}

// lookOf is an interface's name, and what identities on it may depend on: flags and state, hardware address, master and MTU.
func lookOf(b []byte) (name, looks string) {
	looks = string(b[8:12]) // flags
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return "", ""
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			name = unix.ByteSliceToString(a.Value)
		case unix.IFLA_ADDRESS, unix.IFLA_OPERSTATE, unix.IFLA_MASTER, unix.IFLA_MTU:
			looks += fmt.Sprintf(" %d=%x", a.Attr.Type, a.Value)
		}
	}
	return name, looks
}

func (w *watcher) addrConcerns(m syscall.NetlinkMessage) whom {
	if len(m.Data) < unix.SizeofIfAddrmsg {
		return whom{}
	}
	name := w.links[int32(binary.NativeEndian.Uint32(m.Data[4:]))]
	if name != w.host.lower {
		return w.host.ownsLink(name)
	}
	return w.host.ownsAddr(attrAddr(m.Data[unix.SizeofIfAddrmsg:], unix.IFA_ADDRESS))
}

// attrAddr reads an address among attributes; the zero value where there is none.
func attrAddr(b []byte, kind uint16) netip.Addr {
	attrs, err := nl.ParseRouteAttr(b)
	for _, a := range attrs {
		if err == nil && a.Attr.Type == kind {
			addr, _ := netip.AddrFromSlice(a.Value)
			return addr
		}
	}
	return netip.Addr{}
}

// sizeofTcMsg is that of struct tcmsg (linux/rtnetlink.h); the interface's index is at 4, the priority in the upper half at 16.
const sizeofTcMsg = 20

func (w *watcher) filterConcerns(m syscall.NetlinkMessage) whom {
	if len(m.Data) < sizeofTcMsg {
		return whom{}
	}
	name := w.links[int32(binary.NativeEndian.Uint32(m.Data[4:]))]
	filter := m.Header.Type == unix.RTM_NEWTFILTER || m.Header.Type == unix.RTM_DELTFILTER
	priority := uint16(binary.NativeEndian.Uint32(m.Data[16:]) >> 16)
	if name != w.host.lower || !filter || priority == 0 { // 0: all of them
		return w.on(name)
	}
	return w.host.ownsPriority(priority)
}

// ruleConcerns is about a policy rule that was removed.
func (w *watcher) ruleConcerns(m syscall.NetlinkMessage) whom {
	if len(m.Data) < unix.SizeofRtMsg { // struct fib_rule_hdr is as long
		return everybody
	}
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtMsg:])
	for _, a := range attrs {
		if err == nil && a.Attr.Type == unix.FRA_TABLE && len(a.Value) >= 4 {
			if table := int(binary.NativeEndian.Uint32(a.Value)); ourTable(table) {
				return w.host.ownsTable(table)
			}
		}
	}
	return everybody
}

// routeConcerns picks, of all the routes of a host, the main table's by the LAN interface, and what is taken from ours.
// Those that come to ours are our own doing.
func (w *watcher) routeConcerns(m syscall.NetlinkMessage) whom {
	if len(m.Data) < unix.SizeofRtMsg {
		return whom{}
	}
	table, several, name := int(m.Data[4]), false, ""
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtMsg:])
	if err != nil {
		return everybody // it cannot be told
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
	gone := m.Header.Type == unix.RTM_DELROUTE
	switch {
	case table == unix.RT_TABLE_MAIN && (several || name == w.host.lower):
		return everybody
	case gone && ourTable(table):
		return w.host.ownsTable(table)
	case gone && table == unix.RT_TABLE_LOCAL && name == w.host.lower:
		return w.host.ownsAddr(attrAddr(m.Data[unix.SizeofRtMsg:], unix.RTA_DST))
	case gone && table == unix.RT_TABLE_LOCAL:
		return w.host.ownsLink(name)
	}
	return whom{}
}

// tableRemoved says whose table was deleted. Rules are rewritten with each renewal, so they are not watched.
func (w *watcher) tableRemoved(m syscall.NetlinkMessage) whom {
	const header = 4 // struct nfgenmsg
	if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE || len(m.Data) < header {
		return whom{}
	}
	attrs, err := nl.ParseRouteAttr(m.Data[header:])
	for _, a := range attrs {
		if a.Attr.Type == unix.NFTA_TABLE_NAME {
			if name := unix.ByteSliceToString(a.Value); strings.HasPrefix(name, tablePrefix) {
				return w.host.ownsDigits(name)
			}
			return whom{}
		}
	}
	if err != nil {
		return everybody
	}
	return whom{}
}

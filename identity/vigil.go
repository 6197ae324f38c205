package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// vigil knows of which fences nobody has touched the filters since they were last looked at. The kernel queues its notification before
// whoever removed one is told that it is done, so what is not in the queue has not happened. Reading it waits for nothing; to look at
// the filters themselves waits for whatever else happens to the links of this host (the rtnl mutex), and closing a fence must not.
type vigil struct {
	mu     sync.Mutex
	fd     int
	buf    []byte
	posts  map[*exactFence]*posts // as they were last found to be right
	looks  map[*exactFence]*posts // those of looks that have not ended
	missed bool                   // the queue cannot be read: nothing is known
}

// posts are where a fence's filters are.
type posts struct {
	links    []int  // its own: whatever happens to filters there concerns it
	lower    int    // the LAN interface, shared with others
	priority uint16 // of its filter there
	touched  bool
}

// vigilBuffer is asked for the socket; the kernel gives it to root.
const vigilBuffer = 4 << 20

func newVigil() (*vigil, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, vigilBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, vigilBuffer) // less overflows sooner, and then filters are looked at
	}
	groups := uint32(1<<(unix.RTNLGRP_TC-1) | 1<<(unix.RTNLGRP_LINK-1)) // with a link that leaves the filters go without a word
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribing to the changes of filters: %w", err), unix.Close(fd))
	}
	return &vigil{fd: fd, buf: make([]byte, 64<<10), posts: make(map[*exactFence]*posts), looks: make(map[*exactFence]*posts)}, nil
}

func (v *vigil) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := unix.Close(v.fd)
	v.fd, v.missed = -1, true
	return err
}

// look begins a look at a fence's filters: what happens to them from here on counts. The look ends with sound or with doubt; until then
// the one before is good.
func (v *vigil) look(f *exactFence, places []place) *posts {
	p := &posts{priority: f.priority}
	for _, one := range places {
		index := one.on.Attrs().Index
		if one.priority == f.priority {
			p.lower = index
		} else if !slices.Contains(p.links, index) {
			p.links = append(p.links, index)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drain()
	v.looks[f] = p
	return p
}

// sound says that a look found all as it should be. Another one that began meanwhile has its own end.
func (v *vigil) sound(f *exactFence, p *posts) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.looks[f] == p {
		v.posts[f] = p
		delete(v.looks, f)
	}
}

// doubt says that a look found something else, or that the fence is gone.
func (v *vigil) doubt(f *exactFence) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.posts, f)
	delete(v.looks, f)
}

// untouched says whether a fence's filters are as they were when they were last found to be right.
func (v *vigil) untouched(f *exactFence) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drain()
	p := v.posts[f]
	return p != nil && !p.touched && !v.missed
}

// drain reads what has been notified. The caller holds mu.
func (v *vigil) drain() {
	for !v.missed {
		n, _, err := unix.Recvfrom(v.fd, v.buf, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.ENOBUFS), err == nil && n > len(v.buf):
			v.each((*posts).touch) // something was lost: all are to be looked at again
		case err != nil:
			v.missed = true
		default:
			v.take(v.buf[:n])
		}
	}
}

func (p *posts) touch() { p.touched = true }

func (v *vigil) each(f func(*posts)) {
	for _, p := range v.posts {
		f(p)
	}
	for _, p := range v.looks {
		f(p)
	}
}

// take notes what some notifications are about.
func (v *vigil) take(b []byte) {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		v.each((*posts).touch)
		return
	}
	for _, m := range messages {
		if m.Header.Type == unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		index := int(int32(binary.NativeEndian.Uint32(m.Data[4:]))) // in struct ifinfomsg, too
		filter := len(m.Data) >= sizeofTcMsg && (m.Header.Type == unix.RTM_NEWTFILTER || m.Header.Type == unix.RTM_DELTFILTER)
		priority := uint16(0) // all of them
		if filter {
			priority = uint16(binary.NativeEndian.Uint32(m.Data[16:]) >> 16)
		}
		v.each(func(p *posts) {
			other := priority != 0 && priority != p.priority && ourPriority(priority)
			p.touched = p.touched || slices.Contains(p.links, index) || index == p.lower && !other
		})
	}
}

package identity

import (
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// reapGroup is the group of links (IFLA_GROUP) that are to be deleted at one time.
const reapGroup = 0x6e70 // "np"

// reaper deletes links. For each request to delete the kernel waits for a grace period of 10 to 20 ms, however many links it is about,
// and lets nobody else near the links meanwhile. So whatever is to go while another request is under way goes with one request after
// that, as a group; and on a socket of its own, so that nobody stands behind it in a queue.
type reaper struct {
	nl  *netlink.Handle
	raw *asker

	mu      sync.Mutex
	waiting []departing
	busy    bool
}

// departing is a link that is to go.
type departing struct {
	name string
	done chan error
}

func newReaper() (*reaper, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	s, err := newAsker()
	if err != nil {
		h.Close()
		return nil, err
	}
	return &reaper{nl: h, raw: s}, nil
}

func (r *reaper) close() {
	r.nl.Close()
	r.raw.close()
}

// drop deletes a link if it is there, and returns when it is gone.
func (r *reaper) drop(name string) error {
	one := departing{name, make(chan error, 1)}
	r.mu.Lock()
	r.waiting = append(r.waiting, one)
	if r.busy {
		r.mu.Unlock()
		return <-one.done
	}
	r.busy = true
	for len(r.waiting) > 0 {
		batch := r.waiting
		r.waiting = nil
		r.mu.Unlock()
		r.reap(batch)
		r.mu.Lock()
	}
	r.busy = false
	r.mu.Unlock()
	return <-one.done
}

// reap deletes some links, and tells each who waits for one.
func (r *reaper) reap(batch []departing) {
	var links []netlink.Link
	var whose []departing
	for _, one := range batch {
		l, err := r.nl.LinkByName(one.name)
		switch _, missing := errors.AsType[netlink.LinkNotFoundError](err); {
		case missing:
			one.done <- nil
		case err != nil:
			one.done <- fmt.Errorf("removing the link %s: %w", one.name, err)
		default:
			links, whose = append(links, l), append(whose, one)
		}
	}
	if len(links) > 1 && r.together(links) == nil {
		links = nil // each is gone
	}
	for i, one := range whose {
		var err error
		if links != nil {
			if err = r.nl.LinkDel(links[i]); errors.Is(err, unix.ENODEV) {
				err = nil
			}
		}
		if err != nil {
			err = fmt.Errorf("removing the link %s: %w", one.name, err)
		}
		one.done <- err
	}
}

// together deletes links with one request. An error says that it may have deleted none or some.
func (r *reaper) together(links []netlink.Link) error {
	for _, l := range links {
		if err := r.nl.LinkSetGroup(l, reapGroup); err != nil {
			return err
		}
	}
	req := r.raw.request(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(reapGroup)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// dropLink deletes a link if it is there.
func (h *Host) dropLink(name string) error { return h.reaper.drop(name) }

// dropLinks deletes several.
func (h *Host) dropLinks(names []string) error {
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { errs[i] = h.dropLink(name) })
	}
	all.Wait()
	return errors.Join(errs...)
}

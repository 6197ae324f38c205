package lab

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// userSwitch is the lab's own learning switch. It can do with a frame what the kernel's bridge cannot: delay it, double it,
// let a later one pass it. One goroutine on a thread of its own owns everything in it and waits in ppoll(2) for frames,
// for the time at which the next frame in flight is due, and for orders.
type userSwitch struct {
	orders chan func()
	wake   int       // eventfd(2)
	start  time.Time // from which the switch counts its time
	done   chan struct{}
	end    sync.Once

	ports  []*port
	table  map[[6]byte]learned
	cuts   []Cut
	shapes []Shape
	paths  map[route]*path
	queue  queue
	ending bool
}

// learned says behind which port an address is.
type learned struct {
	port *port
	at   time.Duration
}

const (
	// forget is after how long without a frame the switch forgets where an address is, as the kernel's bridge does.
	forget = 300 * time.Second
	// turnFrames is how many frames of one port are forwarded before the others have their turn.
	turnFrames = 64
	// switchNice is the priority of the switch's thread, from -20 (high) to 19.
	switchNice = -10
)

func newUserSwitch() (*userSwitch, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make the user-space switch: %w", err)
	}
	w := &userSwitch{
		orders: make(chan func(), 1), wake: wake, start: time.Now(), done: make(chan struct{}),
		table: map[[6]byte]learned{}, paths: map[route]*path{},
	}
	go w.run()
	return w, nil
}

var errSwitchOff = errors.New("the switch is off")

// order lets the switch's goroutine do something between two frames.
func (w *userSwitch) order(f func()) error {
	did := make(chan struct{})
	select {
	case w.orders <- func() { f(); close(did) }:
	case <-w.done:
		return errSwitchOff
	}
	if _, err := unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("wake the switch: %w", err)
	}
	select {
	case <-did:
		return nil
	case <-w.done:
		return errSwitchOff
	}
}

func (w *userSwitch) plugIn(s *space, p plug) error {
	if err := layCable(s, p); err != nil {
		return err
	}
	if err := setUpPort(s, p); err != nil {
		return err
	}
	o, err := openPort(p)
	if err != nil {
		return err
	}
	if err := w.order(func() { w.ports = append(w.ports, o) }); err != nil {
		o.close()
		return err
	}
	return nil
}

func (w *userSwitch) unplug(p plug) error {
	err := w.order(func() {
		i := slices.IndexFunc(w.ports, func(o *port) bool { return o.name == p.name })
		if i < 0 {
			return
		}
		w.flush(w.ports[i])
		w.ports[i].close()
		w.ports = slices.Delete(w.ports, i, i+1)
	})
	return errors.Join(err, removeCable(p))
}

// treat keeps the state of the paths whose shape stays the same: their chances and delays go on.
func (w *userSwitch) treat(cuts []Cut, shapes []Shape) error {
	return w.order(func() {
		w.cuts, w.shapes = cuts, shapes
		for _, o := range w.ports { // a cable that was just pulled
			if o.linkDown() {
				w.flush(o)
			}
		}
		for r, p := range w.paths {
			if w.shapeOf(r) != p.shape {
				delete(w.paths, r)
			}
		}
	})
}

func (w *userSwitch) close() {
	w.end.Do(func() { _ = w.order(func() { w.ending = true }) }) // it is off already otherwise
	<-w.done
	unix.Close(w.wake) // nobody orders any more
}

func (w *userSwitch) now() time.Duration { return time.Since(w.start) }

func (w *userSwitch) run() {
	runtime.LockOSThread() // it waits in the kernel most of the time, and nobody else is to wait for this thread
	defer runtime.UnlockOSThread()
	defer close(w.done)
	// A busy machine is to delay the hosts' own work, not their network. A plain user may not ask for it, and waits longer.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), switchNice)
	var fds []unix.PollFd
	for !w.ending {
		fds = append(fds[:0], unix.PollFd{Fd: int32(w.wake), Events: unix.POLLIN})
		for _, o := range w.ports {
			fds = append(fds, unix.PollFd{Fd: int32(o.fd), Events: unix.POLLIN})
		}
		// The only errors are EINTR, and the lack of memory for a moment.
		_, _ = unix.Ppoll(fds, w.patience(), nil)
		for i, o := range w.ports { // the orders come last: they change the list
			w.serve(o, fds[i+1].Revents)
		}
		w.release()
		if fds[0].Revents != 0 {
			w.obey()
		}
	}
	for _, o := range w.ports {
		o.close()
	}
}

// patience is how long the switch may wait for frames; nil = for ever.
func (w *userSwitch) patience() *unix.Timespec {
	if len(w.queue.all) == 0 {
		return nil
	}
	ts := unix.NsecToTimespec(max(0, int64(w.queue.all[0].due-w.now())))
	return &ts
}

func (w *userSwitch) obey() {
	_, _ = unix.Read(w.wake, make([]byte, 8)) // sets the count to zero; it was not zero
	for {
		select {
		case f := <-w.orders:
			f()
		default:
			return
		}
	}
}

// serve forwards what came in at a port.
func (w *userSwitch) serve(o *port, events int16) {
	if events&unix.POLLERR != 0 && o.linkDown() {
		w.flush(o)
	}
	if events == 0 {
		return
	}
	for range turnFrames {
		if !o.receive(func(frame []byte) { w.forward(o, frame) }) {
			return
		}
	}
}

// flush forgets what is behind a port whose link went down.
func (w *userSwitch) flush(o *port) {
	for mac, l := range w.table {
		if l.port == o {
			delete(w.table, mac)
		}
	}
}

// forward is IEEE 802.1D in short: learn where the source is, send to where the destination is, or everywhere else.
func (w *userSwitch) forward(in *port, frame []byte) {
	if len(frame) < 14 {
		return
	}
	dst, src := [6]byte(frame[:6]), [6]byte(frame[6:12])
	if src[0]&1 != 0 || src == [6]byte{} {
		return // no address of a card
	}
	now := w.now()
	w.table[src] = learned{in, now}
	if [5]byte(dst[:5]) == [5]byte{0x01, 0x80, 0xc2, 0, 0} && dst[5] < 0x10 {
		return // for the switch itself: 802.1D, table 7-10
	}
	if l, known := w.table[dst]; known && dst[0]&1 == 0 {
		if now-l.at < forget {
			if l.port != in {
				w.pass(in, l.port, frame, now)
			}
			return
		}
		delete(w.table, dst)
	}
	for _, out := range w.ports {
		if out != in {
			w.pass(in, out, frame, now)
		}
	}
}

// pass takes a frame along one path.
func (w *userSwitch) pass(in, out *port, frame []byte, now time.Duration) {
	r := route{in.name, out.name}
	if w.severed(r) {
		return
	}
	p := w.paths[r]
	if p == nil {
		p = newPath(r, w.shapeOf(r))
		w.paths[r] = p
	}
	if p.shape == (Shape{}) {
		out.send(frame)
		return
	}
	p.pass(&w.queue, frame, now)
}

func (w *userSwitch) severed(r route) bool {
	return slices.ContainsFunc(w.cuts, func(c Cut) bool { return c.severs(r.from, r.to) })
}

// shapeOf finds the shape of a path: the most exact one comes first.
func (w *userSwitch) shapeOf(r route) Shape {
	for _, s := range w.shapes {
		if s.fits(r.from, r.to) {
			return s
		}
	}
	return Shape{}
}

// release sends the frames that are due. What was cut meanwhile does not arrive: a cut is one for frames in flight too.
func (w *userSwitch) release() {
	if len(w.queue.all) == 0 {
		return
	}
	now := w.now()
	for f := w.queue.pop(now); f != nil; f = w.queue.pop(now) {
		i := slices.IndexFunc(w.ports, func(o *port) bool { return o.name == f.to })
		if i >= 0 && !w.severed(f.route) {
			w.ports[i].send(f.frame)
		}
	}
}

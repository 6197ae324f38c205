package sim

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"nightporter/agent"
	"nightporter/identity"
	"nightporter/wake"
)

// kernel is one machine's hold on the identities, with an exact fence: it closes by itself at its deadline on this machine's
// CLOCK_BOOTTIME, and at every entry into a suspend. It outlives the daemon, not a boot.
type kernel struct {
	m *machine

	mu         sync.Mutex
	generation uint64 // counts the entries into a suspend
	rooms      map[string]*room
	ways       map[netip.Addr]announced // what came by
	served     map[string]int           // connections that were answered, by service
}

// room is one prepared identity.
type room struct {
	spec     identity.Spec
	guard    bool
	shut     []netip.AddrPort // nobody listens there yet
	deadline time.Duration    // on CLOCK_BOOTTIME; 0 = closed
	armed    uint64           // the generation under which it was opened
	edge     bool             // the last frame before the deadline is to be noted
	heir     *life            // who took it over from the former life of the process
	kept     bool             // left open for the next life of the process, which has not taken it yet
	ears     map[*ear]struct{}
}

// servings gives how many connections the machine has answered, by service.
func (k *kernel) servings() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.served)
}

// ear is one demand listener.
type ear struct {
	life *life
	on   func(wake.Demand)
}

func newKernel(m *machine) *kernel {
	return &kernel{m: m, generation: 1, rooms: make(map[string]*room), served: make(map[string]int)}
}

// passes says whether frames of an identity get through now. The caller holds mu.
func (k *kernel) passes(r *room) bool {
	boot, _ := k.m.clock.read()
	return r.deadline > boot && r.armed == k.generation
}

// open lists the services whose fence is open.
func (k *kernel) open() (out []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, r := range k.rooms {
		if k.passes(r) {
			out = append(out, name)
		}
	}
	return out
}

// present lists the services whose address is configured.
func (k *kernel) present() (out []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.rooms {
		out = append(out, name)
	}
	return out
}

// suspendEntry closes every fence, and none opens again that was asked for before.
func (k *kernel) suspendEntry() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, r := range k.rooms {
		k.lastFrame(name, r)
		r.deadline = 0
	}
	k.generation++
}

// reset is a boot.
func (k *kernel) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, r := range k.rooms {
		k.lastFrame(name, r)
	}
	k.rooms = make(map[string]*room)
	k.generation++
}

// The network is taken to be full of questions for every identity: whenever a fence is open there are answers on the wire.
// So each opening, each renewal and the last instant before a fence closes is a frame.

// lastFrame notes the last frame that a room let through, now that it is closed. The caller holds mu.
func (k *kernel) lastFrame(name string, r *room) {
	if !r.edge {
		return
	}
	r.edge = false
	if k.passes(r) {
		k.m.use(name, "the last frame before the fence was closed")
	}
}

// watchEdge has the last frame before the deadline noted, at its time. The caller holds mu.
func (k *kernel) watchEdge(name string, r *room) {
	r.edge = true
	deadline := r.deadline
	last := k.m.clock.until(deadline - time.Microsecond)
	time.AfterFunc(time.Until(last), func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.rooms[name] == r && r.deadline == deadline && k.passes(r) {
			r.edge = false
			k.m.use(name, "the last frame before the fence's deadline")
		}
	})
}

// bend makes this machine's clocks run faster or slower than their quartz, by that share of a second in a second.
func (m *machine) bend(by float64) {
	m.clock.bend(by)
	k := m.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, r := range k.rooms {
		if r.edge {
			k.watchEdge(name, r) // the deadline comes at another time now
		}
	}
}

// lifeKernel is the kernel as one life of the daemon reaches it.
type lifeKernel struct{ life *life }

func (k lifeKernel) kernel() *kernel { return k.life.machine.kernel }

// Sweep implements agent.Kernel.
func (k lifeKernel) Sweep() error {
	return k.life.syscall(func() error {
		kn := k.kernel()
		kn.mu.Lock()
		defer kn.mu.Unlock()
		for name, r := range kn.rooms {
			if r.heir == k.life {
				continue // taken over before the sweep
			}
			kn.lastFrame(name, r)
			r.deadline = 0
			delete(kn.rooms, name)
		}
		return nil
	})
}

// Adopt implements agent.Kernel: what the former life of this process left open goes on.
func (k lifeKernel) Adopt(l identity.Heirloom) (h agent.Hold, err error) {
	err = k.life.syscall(func() error {
		kn := k.kernel()
		kn.mu.Lock()
		defer kn.mu.Unlock()
		r := kn.rooms[l.Spec.Service]
		if r == nil || !r.kept {
			return errGone
		}
		r.kept, r.heir = false, k.life
		h = &hold{life: k.life, k: kn, name: l.Spec.Service, r: r}
		return nil
	})
	return h, err
}

// Bequeath implements agent.Kernel. The simulated kernel is found again by name.
func (k lifeKernel) Bequeath() (identity.Legacy, error) { return identity.Legacy{}, nil }

// Refusal implements agent.Kernel: the simulated fence is an exact one.
func (k lifeKernel) Refusal() string { return "" }

// Prepare implements agent.Kernel: the identity is there, guarded, behind a closed fence.
func (k lifeKernel) Prepare(s identity.Spec) (h agent.Hold, err error) {
	err = k.life.syscall(func() error {
		kn := k.kernel()
		kn.mu.Lock()
		defer kn.mu.Unlock()
		if old := kn.rooms[s.Service]; old != nil {
			kn.lastFrame(s.Service, old)
		}
		r := &room{spec: s, guard: true, ears: make(map[*ear]struct{})}
		kn.rooms[s.Service] = r
		h = &hold{life: k.life, k: kn, name: s.Service, r: r}
		return nil
	})
	return h, err
}

// Retain implements agent.Kernel.
func (k lifeKernel) Retain([]identity.Spec) error { return k.life.syscall(func() error { return nil }) }

// Watch implements agent.Kernel.
func (k lifeKernel) Watch(context.Context) <-chan identity.Stir { return k.life.disturbed }

// LAN implements agent.Kernel. It takes no time: the agent asks from wherever it is.
func (k lifeKernel) LAN() (identity.LAN, error) {
	m := k.life.machine
	return identity.LAN{Name: lanName, Index: 2, MAC: m.mac, Prefixes: []netip.Prefix{netip.PrefixFrom(m.addr, 24)}, Up: m.carrier()}, nil
}

// Close implements agent.Kernel.
func (k lifeKernel) Close() error { return nil }

const lanName = "eth0"

var errGone = errors.New("no such device")

// hold is one prepared identity, as the daemon that prepared it reaches it.
type hold struct {
	life *life
	k    *kernel
	name string
	r    *room
}

// do carries out one kernel call on the identity, if it is still there.
func (h *hold) do(f func() error) error {
	return h.life.syscall(func() error {
		h.k.mu.Lock()
		defer h.k.mu.Unlock()
		if h.k.rooms[h.name] != h.r {
			return errGone
		}
		return f()
	})
}

// Guard implements agent.Hold.
func (h *hold) Guard(on bool) error {
	return h.do(func() error { h.r.guard = on; return nil })
}

// Answer implements agent.Hold. The plans have services that swallow only: this world knows attempts, and no connections.
func (h *hold) Answer(list []identity.Answer) error {
	return h.do(func() error {
		if len(list) > 0 {
			return errors.ErrUnsupported
		}
		return nil
	})
}

// GuardPorts implements agent.Hold.
func (h *hold) GuardPorts(tcp, _ []netip.AddrPort) error {
	return h.do(func() error { h.r.shut = slices.Clone(tcp); return nil })
}

// Generation implements agent.Hold.
func (h *hold) Generation() (g uint64, err error) {
	return g, h.do(func() error { g = h.k.generation; return nil })
}

// Open implements agent.Hold. A fence that is opened under a generation that is over stays shut.
func (h *hold) Open(deadline time.Duration, generation uint64) error {
	return h.do(func() error {
		h.k.lastFrame(h.name, h.r)
		h.r.deadline, h.r.armed = deadline, generation
		h.moved("open")
		return nil
	})
}

// moved notes the frame that an open fence lets through at once. The caller holds the kernel's mu.
func (h *hold) moved(what string) {
	if h.k.passes(h.r) {
		h.k.m.use(h.name, what)
		h.k.watchEdge(h.name, h.r)
	}
}

// Extend implements agent.Hold.
func (h *hold) Extend(deadline time.Duration) error {
	return h.do(func() error {
		if deadline < h.r.deadline {
			h.k.lastFrame(h.name, h.r)
		}
		h.r.deadline = deadline
		h.moved("renewed")
		return nil
	})
}

// Close implements agent.Hold.
func (h *hold) Close() error {
	return h.do(func() error {
		h.k.lastFrame(h.name, h.r)
		h.r.deadline = 0
		return nil
	})
}

// Announce implements agent.Hold: two forms of gratuitous ARP, which the fence stops like everything else.
func (h *hold) Announce(stillMine func() bool) error {
	for range 2 {
		if !stillMine() {
			return nil
		}
		err := h.do(func() error {
			if h.k.passes(h.r) {
				h.k.m.w.lan.announce(h.k.m, h.name, h.r.spec)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Probe implements agent.Hold: who else answers for the address?
func (h *hold) Probe(ctx context.Context, wait time.Duration, _ []net.HardwareAddr) ([]identity.Foreign, error) {
	if err := h.do(func() error { return nil }); err != nil {
		return nil, err
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := h.life.proc.Gate(ctx); err != nil {
		return nil, err
	}
	return h.life.machine.w.lan.strangers(h.life.machine, h.r.spec), nil
}

// Check implements agent.Hold.
func (h *hold) Check() (drift []identity.Drift, err error) {
	return nil, h.do(func() error { return nil })
}

// Repair implements agent.Hold.
func (h *hold) Repair() error { return h.do(func() error { return nil }) }

// Remove implements agent.Hold.
func (h *hold) Remove() error {
	return h.do(func() error {
		h.k.lastFrame(h.name, h.r)
		delete(h.k.rooms, h.name)
		return nil
	})
}

// Bequeath implements agent.Hold: it stays open to the next life of the process.
func (h *hold) Bequeath() (l identity.Heirloom, err error) {
	return l, h.do(func() error {
		l = identity.Heirloom{Spec: h.r.spec, Kind: fence{}.Kind(), Guarded: h.r.guard, Deadline: h.r.deadline}
		h.r.kept = true
		return nil
	})
}

// Link implements agent.Hold.
func (h *hold) Link() string { return "np-" + h.name }

// Fence implements agent.Hold.
func (h *hold) Fence() identity.Fence { return fence{} }

// fence only tells what status shows of it.
type fence struct{ identity.Fence }

func (fence) Kind() string     { return "simulated" }
func (fence) Limits() []string { return nil }

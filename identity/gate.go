package identity

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// gate is the map of one identity's fence, as the kernel's programs read it for each packet, mapped into this process. A store
// is one instruction and costs tens of nanoseconds; the next packet is judged by it. Each word is stored at once, so a program never
// reads half of one.
type gate struct {
	kernel *ebpf.Map
	page   []byte
}

// newGate makes one, closed.
func newGate() (*gate, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: gateName, Type: ebpf.Array, KeySize: 4, ValueSize: gateSize, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		return nil, fmt.Errorf("making the map of the fence: %w", err)
	}
	return mapGate(m)
}

// gateName tells a gate from other maps.
const gateName = "np_gate"

// mapGate takes a map over; on an error it is closed.
func mapGate(m *ebpf.Map) (*gate, error) {
	page, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mapping the map of the fence: %w", err), m.Close())
	}
	return &gate{kernel: m, page: page}, nil
}

// word is one of the map's words, by its offset.
func (g *gate) word(at int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&g.page[at])) }

// until moves the deadline, with the distance of the two clocks as it is now. It arms nothing.
func (g *gate) until(deadline time.Duration) error {
	boot, mono, err := clocks()
	if err != nil {
		return err
	}
	g.word(wordOffset).Store(uint64(boot - mono))
	g.word(wordDeadline).Store(uint64(max(deadline, 0)))
	return nil
}

// arm says up to which count of suspends the rest is valid.
func (g *gate) arm(generation uint64) { g.word(wordArmed).Store(generation) }

func (g *gate) shut() { g.word(wordDeadline).Store(0) }

func (g *gate) close() error { return errors.Join(unix.Munmap(g.page), g.kernel.Close()) }

// clocks reads CLOCK_BOOTTIME and CLOCK_MONOTONIC.
func clocks() (boot, mono time.Duration, err error) {
	var b, m unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_BOOTTIME, &b), unix.ClockGettime(unix.CLOCK_MONOTONIC, &m)); err != nil {
		return 0, 0, fmt.Errorf("reading the clocks: %w", err)
	}
	return time.Duration(b.Nano()), time.Duration(m.Nano()), nil
}

package identity

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Cost is one quantity of what the fence costs, with all its samples.
type Cost struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Samples []float64 `json:"samples"`
}

// Cuts are deadlines that passed under a flood, by the wall clock, in nanoseconds since 1970. Whoever films the wire knows the rest.
type Cuts struct {
	Kind string  `json:"kind"`
	At   []int64 `json:"at"`
}

// Costs is what a measurement gives.
type Costs struct {
	Costs []Cost `json:"costs"`
	Cuts  []Cuts `json:"cuts"`
}

// costRun is one measurement on a host that runs no agent.
type costRun struct {
	lower string
	spec  Spec
	peer  netip.AddrPort // answers each datagram, and each line over TCP
	out   map[string]*Cost
	order []string
	cuts  map[string]*Cuts
}

// The kinds that are compared: no fence at all, and the two forms.
const unfenced = "none"

// MeasureFence measures what the fence costs on an interface, in as many rounds: each takes all kinds in turn, so that a machine that
// is slower for a while is so for all. What it makes there is removed.
func MeasureFence(lower string, s Spec, peer netip.AddrPort, rounds int) (Costs, error) {
	r := &costRun{lower: lower, spec: s, peer: peer, out: make(map[string]*Cost), cuts: make(map[string]*Cuts)}
	for range rounds {
		for _, kind := range []string{unfenced, "nftables", "bpf"} {
			if err := r.round(kind); err != nil {
				return Costs{}, fmt.Errorf("measuring with the fence %s: %w", kind, err)
			}
		}
		if err := r.programs(); err != nil {
			return Costs{}, err
		}
	}
	var all Costs
	for _, name := range r.order {
		all.Costs = append(all.Costs, *r.out[name])
	}
	for _, kind := range []string{"nftables", "bpf"} {
		all.Cuts = append(all.Cuts, *r.cuts[kind])
	}
	return all, nil
}

func (r *costRun) add(name, unit string, v float64) {
	if r.out[name] == nil {
		r.out[name] = &Cost{Name: name, Unit: unit}
		r.order = append(r.order, name)
	}
	r.out[name].Samples = append(r.out[name].Samples, v)
}

// round is one pass with one kind of fence.
func (r *costRun) round(kind string) (err error) {
	form := Exact
	if kind == "nftables" {
		form = NFTables
	}
	h, err := NewHost(r.lower, form, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Purge(), h.Close()) }()
	p, err := h.Prepare(r.spec)
	if err != nil {
		return err
	}
	if err := p.Guard(false); err != nil {
		return err
	}
	g, err := p.Generation()
	if err != nil {
		return err
	}
	now, _, err := clocks()
	if err != nil {
		return err
	}
	if err := p.Open(now+time.Hour, g); err != nil {
		return err
	}
	if err := p.Announce(func() bool { return true }); err != nil {
		return err
	}
	if kind == unfenced {
		if f, ok := p.fence.(*exactFence); ok {
			if err := h.dropExact(f.link); err != nil {
				return err
			}
		}
		return errors.Join(r.pingPong(kind), r.throughput(kind))
	}
	return errors.Join(r.renewals(kind, p, now+time.Hour), r.pingPong(kind), r.throughput(kind), r.cutOffs(kind, p, g))
}

func (r *costRun) renewals(kind string, p *Hold, deadline time.Duration) error {
	for i := range 200 {
		began := time.Now()
		if err := p.Extend(deadline + time.Duration(i)); err != nil {
			return err
		}
		r.add("renewal, "+kind, "us", float64(time.Since(began).Nanoseconds())/1e3)
	}
	return nil
}

// dial connects from the identity.
func (r *costRun) dial(network string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: r.spec.Addrs[0].AsSlice()}}
	if network == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: r.spec.Addrs[0].AsSlice()}
	}
	return d.Dial(network, r.peer.String())
}

// pingPong asks by UDP, each question after the answer to the one before.
func (r *costRun) pingPong(kind string) error {
	c, err := r.dial("udp")
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 256)
	for i := range 500 {
		began := time.Now()
		if err := c.SetDeadline(began.Add(time.Second)); err != nil {
			return err
		}
		if _, err := c.Write(buf[:64]); err != nil {
			return err
		}
		if _, err := c.Read(buf); err != nil {
			return err
		}
		if i >= 200 { // before that neighbours are looked up and caches filled
			r.add("there and back by UDP, "+kind, "us", float64(time.Since(began).Nanoseconds())/1e3)
		}
	}
	return nil
}

// throughput sends lines over TCP, which come back, for half a second.
func (r *costRun) throughput(kind string) error {
	c, err := r.dial("tcp")
	if err != nil {
		return err
	}
	defer c.Close()
	line := make([]byte, 1<<18)
	for i := range line {
		line[i] = 'x'
	}
	line[len(line)-1] = '\n'
	go func() {
		for {
			if _, err := c.Write(line); err != nil {
				return // closed
			}
		}
	}()
	in := bufio.NewReaderSize(c, 1<<18)
	if _, err := io.CopyN(io.Discard, in, 4<<20); err != nil {
		return err
	}
	began, total := time.Now(), int64(0)
	for time.Since(began) < 500*time.Millisecond {
		n, err := io.CopyN(io.Discard, in, 1<<20)
		if err != nil {
			return err
		}
		total += n
	}
	r.add("there and back by TCP, "+kind, "MB/s", float64(total)/1e6/time.Since(began).Seconds())
	return nil
}

// cutOffs lets a lease run out under a flood, again and again.
func (r *costRun) cutOffs(kind string, p *Hold, generation uint64) error {
	c, err := r.dial("udp")
	if err != nil {
		return err
	}
	defer c.Close()
	if r.cuts[kind] == nil {
		r.cuts[kind] = &Cuts{Kind: kind}
	}
	word := make([]byte, 18)
	for range 10 {
		now, _, err := clocks()
		if err != nil {
			return err
		}
		deadline := now + 20*time.Millisecond
		wall, err := wallOf(deadline)
		if err != nil {
			return err
		}
		if err := p.Open(deadline, generation); err != nil {
			return err
		}
		for now < deadline+10*time.Millisecond {
			_, _ = c.Write(word) // what becomes of it is seen at the switch
			if now, _, err = clocks(); err != nil {
				return err
			}
		}
		r.cuts[kind].At = append(r.cuts[kind].At, wall)
	}
	return nil
}

// programs lets the kernel run the fence's programs on packets by itself (BPF_PROG_TEST_RUN).
func (r *costRun) programs() error {
	s, err := openSuspends(pinRoot)
	if err != nil {
		return err
	}
	defer s.close()
	g, err := newGate()
	if err != nil {
		return err
	}
	defer g.close()
	now, _, err := clocks()
	if err == nil {
		err = g.until(now + time.Hour)
	}
	if err != nil {
		return err
	}
	end := judge(g.kernel, s.count)
	empty, err := classifier("np_empty", asm.Instructions{asm.Mov.Imm(asm.R0, actPass), asm.Return()})
	if err != nil {
		return err
	}
	defer empty.Close()
	through, err := gateProgram(end)
	if err != nil {
		return err
	}
	defer through.Close()
	keyed, err := keyedProgram(r.spec, end)
	if err != nil {
		return err
	}
	defer keyed.Close()
	foreign := make([]byte, 64)
	foreign[12], foreign[14] = 8, 0x45 // IPv4 from 0.0.0.0
	own := append([]byte(nil), foreign...)
	copy(own[6:], r.spec.MAC)
	claims := append([]byte(nil), foreign...)
	copy(claims[14+ip4Source:], r.spec.Addrs[0].AsSlice())
	for _, one := range []struct {
		name   string
		p      *ebpf.Program
		packet []byte
	}{
		{"empty program (the floor)", empty, foreign},
		{"program of the macvlan", through, own},
		{"program of the LAN interface, foreign packet", keyed, foreign},
		{"program of the LAN interface, own MAC", keyed, own},
		{"program of the LAN interface, own address", keyed, claims},
	} {
		_, took, err := one.p.Benchmark(one.packet, 200_000, nil)
		if err != nil {
			return fmt.Errorf("running a program of the fence: %w", err)
		}
		r.add(one.name, "ns", float64(took.Nanoseconds()))
	}
	return nil
}

// Package run carries out one chaos run from its beginning to its verdict: it builds a laboratory, lets clients, operators
// and the nemesis loose on it, heals everything, waits for calm, and judges what the observer, the log and the clients saw.
//
// A run leaves a folder: plan.json (what the seed made), history.json (what happened), verdict.json, report.html, wire.pcapng
// and the agents' logs.
//
// Goroutines: the sampler, the clients, the operators and the nemesis; Run waits for all of them.
package run

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/chaos/history"
	"nightporter/chaos/lab"
	"nightporter/chaos/nemesis"
	"nightporter/config"
)

// Options say what is run.
type Options struct {
	Binary   string // the program; empty: the running one
	Dir      string // gets the run's folder
	Hosts    int
	Duration time.Duration // of the faults; building, healing and judging come on top
	Seed     uint64
	Failover time.Duration
	Switch   string         // lab.SwitchBridge, lab.SwitchUser or Auto
	Deeds    []nemesis.Deed // of an earlier run; nil: those that Seed makes
	Version  string
	Tell     func(Line)
}

// Line is what a run tells while it goes on.
type Line struct {
	At   time.Duration `json:"at_ns"` // since the run began
	Who  string        `json:"who"`
	Text string        `json:"text"`
}

// Auto takes the laboratory's own switch where frames must be delayed, doubled or reordered, else the kernel's bridge.
const Auto = "auto"

// Bounds of a run.
const (
	LeastHosts = 3
	MostHosts  = 12
	// longest: what a run keeps in memory and on disk grows with it, 15 MB of frames a minute.
	longest = 2 * time.Hour
	// thorough is the length from which on every check must have something to judge.
	thorough = 5 * time.Minute
	// settle is what the cluster has, once everything is healed, until every request must be answered: hosts start and
	// meet, a leader is elected, services go back to their targets.
	settle = 30 * time.Second
	// encore begins that long after everything was healed, and lasts as long: hosts are put to sleep and called, and nothing
	// is wrong any more.
	encore = 10 * time.Second
	// rouse is what a wake may take then: an election, and the word of the host's return.
	rouse = 6 * time.Second
	// last is how long clients then watch that it stays so.
	last = 8 * time.Second
	// extra is what a busy machine and the way of a frame to the observer may add to a bound.
	extra      = 300 * time.Millisecond
	resumeTime = 700 * time.Millisecond
)

// Check says in one sentence what cannot be run.
func (o Options) Check() error {
	switch {
	case o.Hosts < LeastHosts || o.Hosts > MostHosts:
		return fmt.Errorf("a run with %d hosts cannot be made; choose %d to %d", o.Hosts, LeastHosts, MostHosts)
	case o.Duration < 10*time.Second || o.Duration > longest:
		return fmt.Errorf("a run of %s cannot be made; choose from 10s to 2h", o.Duration)
	case o.Failover < config.FailoverMin || o.Failover > 5*time.Second:
		return fmt.Errorf("failover %s is out of range for a run; choose from %s to 5s", o.Failover, config.FailoverMin)
	case o.Switch != lab.SwitchBridge && o.Switch != lab.SwitchUser && o.Switch != Auto:
		return fmt.Errorf("there is no switch %q; write auto, bridge or user", o.Switch)
	}
	return nil
}

// field is the cluster of a run, which follows from the number of its hosts: a fifth of them, at least one, may sleep and
// run the services "web" and "files"; "mail" runs on hosts that are always on. Which of the services are in mode address follows from
// the seed: one of these three, and some of those that come and go.
type field struct {
	hosts    []string
	sleepers []string
	numbers  []int // of the sleepers
	services []history.Service
	extra    []history.Service
}

func fieldOf(hosts int, seed uint64) field {
	var f field
	for k := 1; k <= hosts; k++ {
		f.hosts = append(f.hosts, fmt.Sprintf("h%d", k))
	}
	sleepers := max(1, hosts*2/5)
	for k := hosts; k > hosts-sleepers; k-- {
		f.sleepers = append(f.sleepers, f.hosts[k-1])
		f.numbers = append(f.numbers, k)
	}
	f.services = []history.Service{
		service(0, "web", f.sleepers...), service(1, "files", f.sleepers[len(f.sleepers)-1]), service(2, "mail", f.hosts[1], f.hosts[0]),
	}
	for i := range f.services {
		f.services[i].Founded = true
	}
	f.extra = []history.Service{service(10, "x1", f.hosts[0], f.hosts[1]), service(11, "x2", f.hosts[1], f.hosts[2])}
	r := rand.New(rand.NewPCG(seed, 0x6d6f6465))
	f.services[r.IntN(len(f.services))].Mode = config.ModeAddress
	for i := range f.extra {
		if r.IntN(2) == 0 {
			f.extra[i].Mode = config.ModeAddress
		}
	}
	return f
}

// service is number k: its addresses and its MAC follow from that.
func service(k int, name string, targets ...string) history.Service {
	return history.Service{
		Name: name, MAC: fmt.Sprintf("02:4e:50:aa:00:%02x", k), Port: lab.ServerPort, Targets: targets,
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 77, 0, byte(200 + k)}), netip.MustParseAddr(fmt.Sprintf("fd77::%d", 200+k))},
	}
}

func (f field) all() []history.Service {
	return append(append([]history.Service(nil), f.services...), f.extra...)
}

// inOtherMode gives a definition in the mode that it is not in.
func (f field) inOtherMode(sv api.Service) api.Service {
	i := slices.IndexFunc(f.extra, func(x history.Service) bool { return x.Name == sv.Name })
	other := f.extra[i]
	other.Mode = ""
	if sv.Mode != config.ModeAddress {
		other.Mode = config.ModeAddress
	}
	changed := forAPI(other)
	changed.Targets = sv.Targets
	return changed
}

func (f field) names() []string {
	var out []string
	for _, sv := range f.services {
		out = append(out, sv.Name)
	}
	return out
}

// forFile is a service as the configuration has it, forAPI as `apply` brings it in.
func forFile(sv history.Service) config.Service {
	return config.Service{
		Name: sv.Name, Addresses: sv.Addrs, Mode: sv.Mode, MAC: macOf(sv), Hold: config.HoldDrop, Targets: sv.Targets,
		Ports: []config.Port{{Protocol: "tcp", Number: sv.Port}},
	}
}

// macOf is what a definition says of the MAC: nothing in mode address.
func macOf(sv history.Service) net.HardwareAddr {
	if sv.Mode == config.ModeAddress {
		return nil
	}
	return mustMAC(sv.MAC)
}

func forAPI(sv history.Service) api.Service {
	return api.Service{
		Name: sv.Name, Addresses: sv.Addrs, Mode: sv.Mode, MAC: api.MAC(macOf(sv)), Hold: string(config.HoldDrop), Targets: sv.Targets,
		Ports: []api.Port{{Protocol: "tcp", Number: sv.Port}},
	}
}

// Plan gives the deeds of a run without carrying them out.
func (o Options) Plan() []nemesis.Deed {
	if o.Deeds != nil {
		return o.Deeds
	}
	f := fieldOf(o.Hosts, o.Seed)
	by := o.Switch
	if by == Auto {
		by = lab.SwitchUser
	}
	return nemesis.Plan(o.Seed, nemesis.Field{Hosts: f.hosts, Services: f.names(), Switch: by, Failover: o.Failover}, o.Duration)
}

// settleSwitch chooses the switch that the plan needs.
func (o *Options) settleSwitch() {
	if o.Switch != Auto {
		return
	}
	o.Switch = lab.SwitchBridge
	for _, d := range nemesis.Plan(o.Seed, nemesis.Field{Hosts: fieldOf(o.Hosts, o.Seed).hosts, Services: fieldOf(o.Hosts, o.Seed).names(), Switch: lab.SwitchUser, Failover: o.Failover}, o.Duration) {
		if d.Kind == history.Noise && d.Way != "loss" {
			o.Switch = lab.SwitchUser
		}
	}
}

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
	Binary string // the program; empty: the running one
	Dir    string // gets the run's folder
	Hosts  int    // 0: the whole shape is drawn from the seed
	// Witnesses of the hosts only vote; LookAfter is after what time a sleeper's clock wakes it to look after the others, 0 = never.
	Witnesses int
	LookAfter time.Duration
	Idle      time.Duration // after which sleepers go to sleep by themselves; 0 = they do not
	Settle    time.Duration // what the cluster has to be well again; 0 = settle
	Duration  time.Duration // of the faults; building, healing and judging come on top
	Seed      uint64
	Failover  time.Duration
	Switch    string         // lab.SwitchBridge, lab.SwitchUser or Auto
	Deeds     []nemesis.Deed // of an earlier run; nil: those that Seed makes
	Version   string
	Tell      func(Line)
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
	LeastHosts = 2
	MostHosts  = 12
	// longest: what a run keeps in memory and on disk grows with it, 15 MB of frames a minute.
	longest = 2 * time.Hour
	// thorough is the length from which on every check must have something to judge.
	thorough = 5 * time.Minute
	// settle is what the cluster has, once everything is healed, until every request must be answered: hosts start and
	// meet, a leader is elected, services go back to their targets.
	settle = 30 * time.Second
	// rouse is what a wake may take then: an election, and the word of the host's return.
	rouse = 6 * time.Second
	// lookAfterMost bounds the time of the clocks: a night lasts as long, and some.
	lookAfterMost = time.Minute
	// lookAfterLeast: an alarm may be early by two seconds, and before that everybody else must be gone, or the judge cannot say that nobody was awake.
	lookAfterLeast = 3 * time.Second
	// idleMost: clients pause for nine seconds at most.
	idleMost = 8 * time.Second
	// extra is what a busy machine and the way of a frame to the observer may add to a bound.
	extra      = 300 * time.Millisecond
	resumeTime = 700 * time.Millisecond
)

// encore is the time after which, everything being healed, hosts are put to sleep and called for as long again, and nothing is wrong any more.
func (o Options) encore() time.Duration { return o.Settle / 3 }

// last is how long clients watch in the end that all stays well.
func (o Options) last() time.Duration { return o.Settle * 4 / 15 }

// Check says in one sentence what cannot be run.
func (o Options) Check() error {
	drawn := o
	drawn.drawShape()
	switch {
	case o.Hosts == 0 && (o.Witnesses != 0 || o.LookAfter != 0 || o.Idle != 0):
		return fmt.Errorf("without a number of hosts the seed chooses the whole shape; say how many there are, witnesses included")
	case o.Hosts != 0 && (o.Hosts < LeastHosts || o.Hosts > MostHosts):
		return fmt.Errorf("a run with %d hosts cannot be made; choose %d to %d", o.Hosts, LeastHosts, MostHosts)
	case o.Witnesses < 0 || drawn.Hosts-o.Witnesses < 2:
		return fmt.Errorf("of %d hosts %d cannot be witnesses; two at least must run the services", o.Hosts, o.Witnesses)
	case o.LookAfter != 0 && (o.LookAfter < lookAfterLeast || o.LookAfter > lookAfterMost || o.LookAfter%time.Second != 0):
		return fmt.Errorf("look-after %s cannot be had; choose whole seconds from %s to %s, or 0 for none", o.LookAfter, lookAfterLeast, lookAfterMost)
	case o.Idle != 0 && (o.Idle < 2*time.Second || o.Idle > idleMost):
		return fmt.Errorf("idle %s is of no use in a run, whose clients pause for some seconds; choose from 2s to %s, or 0 for none", o.Idle, idleMost)
	case o.Duration < 10*time.Second || o.Duration > longest:
		return fmt.Errorf("a run of %s cannot be made; choose from 10s to 2h", o.Duration)
	case o.Failover < config.FailoverMin || o.Failover > 5*time.Second:
		return fmt.Errorf("failover %s is out of range for a run; choose from %s to 5s", o.Failover, config.FailoverMin)
	case o.Switch != lab.SwitchBridge && o.Switch != lab.SwitchUser && o.Switch != Auto:
		return fmt.Errorf("there is no switch %q; write auto, bridge or user", o.Switch)
	}
	return nil
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

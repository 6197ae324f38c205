package history

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Form says where a run took place.
type Form string

// The two places.
const (
	Lab Form = "lab" // real agents on real kernels in network namespaces
	Sim Form = "sim" // real agents' code in virtual time
)

// History is one run.
type History struct {
	Form    Form      `json:"form"`
	Seed    uint64    `json:"seed"`
	Version string    `json:"version"` // of the program
	Began   time.Time `json:"began"`   // the cluster was whole
	Calm    time.Time `json:"calm"`    // everything was healed and nothing was done to the cluster any more
	Ended   time.Time `json:"ended"`
	Setup   Setup     `json:"setup"`

	Faults   []Fault   `json:"faults"`   // in the order of From
	Wiped    []string  `json:"wiped"`    // hosts that lost their data
	Powers   []Power   `json:"powers"`   // in the order of At
	Suspends []Suspend `json:"suspends"` // in the order of At

	Spans    []Span    `json:"spans"` // of each service in the order of First
	Magics   []Magic   `json:"magics"`
	Demands  []Demand  `json:"demands"`
	Refusals []Refusal `json:"refusals"`
	Requests []Request `json:"requests"`

	Records        []Record  `json:"records"` // of each service in the order of Epoch
	Contradictions []string  `json:"contradictions"`
	Samples        []Sample  `json:"samples"`
	Commands       []Command `json:"commands"`
	Exits          []Exit    `json:"exits"`
	Crashes        []string  `json:"crashes"` // lines of logs that no healthy agent writes: panics, data races
	Ends           []End     `json:"ends"`

	Controls []Control `json:"controls"`
	Blind    []string  `json:"blind"` // why something was not observed, a sentence each: then nothing is proven
}

// Setup is what the run was made of.
type Setup struct {
	Hosts    []Host        `json:"hosts"`
	Clients  []string      `json:"clients"`
	Services []Service     `json:"services"` // all that ever existed, by name
	Failover time.Duration `json:"failover"` // the largest that was in force
	Initial  time.Duration `json:"initial"`  // the one in the beginning
	Resume   time.Duration `json:"resume"`   // from a magic packet to the first instruction
	Settle   time.Duration `json:"settle"`   // what the cluster has to converge once everything is healed (I7)
	Rouse    time.Duration `json:"rouse"`    // what a wake may take beside Resume while nothing is wrong
	Detect   time.Duration `json:"detect"`   // from when a program fails until its checks say so
	Extra    time.Duration `json:"extra"`    // what observation and a busy machine may add to a bound; 0 in virtual time
}

// TTL is the longest lease: two thirds of the failover.
func (s Setup) TTL() time.Duration { return s.Failover * 2 / 3 }

// slowest is how long a setting may count after another one was acknowledged: a majority of voters that had been cut off, or were just
// started, may not have applied it yet, and grant by the one before.
const slowest = 30 * time.Second

// TTLAt is the longest lease that may have been given at a moment: by any setting that was in force not long before, and by every one
// that somebody had asked for then and was not refused.
func (h *History) TTLAt(at time.Time) time.Duration {
	last, most := h.Setup.Initial, time.Duration(0)
	for _, c := range h.Commands {
		d, err := time.ParseDuration(c.Arg)
		if c.Verb != "set" || c.Refused || err != nil || c.Began.After(at) {
			continue
		}
		if !c.Done || c.Ended.After(at.Add(-slowest)) {
			most = max(most, last, d)
		}
		if c.Done {
			last = d
		}
	}
	if most = max(most, last); most == 0 {
		most = h.Setup.Failover
	}
	return most * 2 / 3
}

// Sleeper says whether a host may sleep.
func (s Setup) Sleeper(host string) bool {
	for _, h := range s.Hosts {
		if h.Name == host {
			return h.Sleeper
		}
	}
	return false
}

// Service gives a service by name.
func (s Setup) Service(name string) (Service, bool) {
	for _, sv := range s.Services {
		if sv.Name == name {
			return sv, true
		}
	}
	return Service{}, false
}

// Host is one machine of the cluster.
type Host struct {
	Name    string `json:"name"`
	Sleeper bool   `json:"sleeper"`
	// Alarm is how long after it fell asleep its own clock wakes it to look after the others; 0 = it does not.
	Alarm time.Duration `json:"alarm,omitempty"`
}

// Service is one identity. A run does not give one name to two identities.
type Service struct {
	Name    string       `json:"name"`
	Addrs   []netip.Addr `json:"addrs"`
	Mode    string       `json:"mode,omitempty"` // "address": on its holder's own MAC; "" = on the one that follows
	MAC     string       `json:"mac"`
	Port    uint16       `json:"port"` // guarded, TCP
	Targets []string     `json:"targets"`
	Founded bool         `json:"founded"` // it exists from the beginning
	Checked bool         `json:"checked"` // its targets must show that it answers
}

// Kind is a kind of fault.
type Kind string

// The kinds. Those that name one host, and leave its daemon no way to renew a lease, are in Mute.
const (
	Kill      Kind = "kill"      // the daemon, by SIGKILL, until it is started again
	Stop      Kind = "stop"      // the daemon, by SIGSTOP
	Restart   Kind = "restart"   // the daemon, politely (SIGTERM)
	PowerOff  Kind = "power"     // the host loses its power
	Freeze    Kind = "freeze"    // the host is suspended without a word to its daemon
	Isolate   Kind = "isolate"   // nothing reaches the host and nothing leaves it
	Cable     Kind = "cable"     // the same, and it sees no carrier
	Partition Kind = "partition" // between groups of hosts
	OneWay    Kind = "one-way"   // frames from one host to others, not back
	Flap      Kind = "flap"      // a link that comes and goes
	Noise     Kind = "noise"     // loss, delay, duplication, reordering
	Starve    Kind = "starve"    // the daemon runs only a part of the time
	Clock     Kind = "clock"     // an agent's clocks are shifted
	Disk      Kind = "disk"      // slow, full or failing
	Wipe      Kind = "wipe"      // the data directory is lost
	Damage    Kind = "damage"    // the data directory is corrupted
	Program   Kind = "program"   // what a service runs on one host does not answer
	Foreign   Kind = "foreign"   // a host outside the cluster uses an address
	Garbage   Kind = "garbage"   // bytes from somebody without the key
	Busy      Kind = "busy"      // no deed: the machine that runs the laboratory had no time for it
)

// Fault is one thing that was done to the cluster. From is before the first moment at which it could have an effect, To
// after the last.
type Fault struct {
	Kind Kind   `json:"kind"`
	Host string `json:"host"` // "" = not one host
	// Service is that of a Program or a Foreign.
	Service string    `json:"service,omitempty"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`     // zero = it lasts
	Took    time.Time `json:"took"`   // when it was in force at the latest
	Detail  string    `json:"detail"` // for people
	// Wall is by how much the host's agent had its wall clock wrong from Took to To: what it stamped then is no true time.
	Wall time.Duration `json:"wall,omitempty"`
	// Mute: from Took to To the host's daemon cannot renew a lease at a majority.
	Mute bool `json:"mute"`
	// Dark: from Took to To no frame can come from the host.
	Dark bool `json:"dark"`
}

// Active says whether the fault can have an effect at a moment.
func (f Fault) Active(at time.Time) bool {
	return !at.Before(f.From) && (f.To.IsZero() || !at.After(f.To))
}

// PowerState is what a machine is doing.
type PowerState string

// The states. A machine resumes between the magic packet and the first instruction of its programs.
const (
	Up       PowerState = "up"
	Asleep   PowerState = "asleep"
	Resuming PowerState = "resuming"
	Off      PowerState = "off"
)

// Power is a change of what a machine is doing.
type Power struct {
	Host  string     `json:"host"`
	At    time.Time  `json:"at"`
	State PowerState `json:"state"`
}

// Suspend is a suspend that the daemon of a host began itself.
type Suspend struct {
	Host   string    `json:"host"`
	At     time.Time `json:"at"`
	Voters []string  `json:"voters"` // as the cluster had them shortly before; nil = not known
	After  []string  `json:"after"`  // as a leader named them first after it, within VotersSoon and while the host slept; nil = none did
}

// VotersSoon is how long after a suspend what a leader says of the voters tells of the moment of the suspend as well: samples are taken now and
// then, and what stood in the last one may have been changed just before.
const VotersSoon = 2 * time.Second

// Span is a run of frames from one host that claim an identity, with no other host's and no gap of SpanGap in it.
type Span struct {
	Service string    `json:"service"`
	Host    string    `json:"host"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Frames  int       `json:"frames"`
	Sample  string    `json:"sample"` // the first frame, in words
}

// SpanGap is the silence that ends a span.
const SpanGap = 20 * time.Millisecond

// Magic is a magic packet on the wire.
type Magic struct {
	At     time.Time `json:"at"`
	From   string    `json:"from"`
	Target string    `json:"target"`
}

// Demand is a connection attempt that arrived at a host.
type Demand struct {
	At      time.Time `json:"at"`
	Service string    `json:"service"`
	Host    string    `json:"host"` // where it arrived
	Client  string    `json:"client"`
}

// Refusal is something that told a client that nobody is there.
type Refusal struct {
	At      time.Time `json:"at"`
	Service string    `json:"service"`
	Host    string    `json:"host"` // that said so
	Client  string    `json:"client"`
	What    string    `json:"what"` // "RST", "ICMP 3/1"
	// Fresh: it answers a connection attempt, not a connection that was lost with its host.
	Fresh bool `json:"fresh"`
}

// Request is what one connection of a client came to.
type Request struct {
	Client  string    `json:"client"`
	Service string    `json:"service"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Server  string    `json:"server"` // "" = it failed
	Err     string    `json:"err,omitempty"`
}

// OK says whether the client was answered.
func (r Request) OK() bool { return r.Server != "" }

// Record is one change of owner as the log has it.
type Record struct {
	Service string `json:"service"`
	Epoch   uint64 `json:"epoch"`
	Index   uint64 `json:"index"`
	From    string `json:"from"`
	To      string `json:"to"`
	Reason  string `json:"reason"`
	By      string `json:"by"`
	// At is no later than the commit; zero = not known.
	At time.Time `json:"at"`
}

// Sample is what one agent said of the cluster.
type Sample struct {
	At     time.Time         `json:"at"` // when it was asked; the answer is from then or later
	Host   string            `json:"host"`
	Life   int               `json:"life"` // of the agent: counts its starts
	Leader string            `json:"leader"`
	Voters []string          `json:"voters"`
	Epochs map[string]uint64 `json:"epochs"` // by service
	Open   []string          `json:"open"`   // services whose fence is open there
}

// Command is what an operator asked for.
type Command struct {
	Verb    string    `json:"verb"` // move, apply, delete, sleep, wake, set, join, leave, forget
	Host    string    `json:"host"` // who was asked
	Service string    `json:"service,omitempty"`
	Arg     string    `json:"arg,omitempty"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	// Done: it was acknowledged. Refused: it was refused and changed nothing. Neither: nobody knows.
	Done    bool   `json:"done"`
	Refused bool   `json:"refused"`
	Result  string `json:"result,omitempty"` // apply: created, changed, unchanged
	From    string `json:"from,omitempty"`   // move: the owner before
	Epoch   uint64 `json:"epoch,omitempty"`  // move: the new one
	Err     string `json:"err,omitempty"`
}

// Exit is the end of an agent that nobody had asked for.
type Exit struct {
	Host string    `json:"host"`
	At   time.Time `json:"at"`
	Code int       `json:"code"`
	Why  string    `json:"why"` // its last words
	// Excused: a fault explains it (a damaged disk).
	Excused bool `json:"excused"`
}

// End is one host at the end of a run, long after everything was healed.
type End struct {
	Host     string            `json:"host"`
	Up       bool              `json:"up"`
	Rests    bool              `json:"rests,omitempty"` // it sleeps by itself, as it may
	Member   bool              `json:"member"`          // it belongs to the cluster
	Problem  string            `json:"problem"`
	Owners   map[string]string `json:"owners"`   // by service, as it knows them
	Open     []string          `json:"open"`     // services whose fence is open here
	Present  []string          `json:"present"`  // services of which an address is configured here
	Defined  []string          `json:"defined"`  // services that it knows
	Failover time.Duration     `json:"failover"` // as it has it
}

// Leftover gives the services of which the host has an address and which it does not hold. For half a second after a service
// was handed on that is as it should be.
//
// A target of a service with checks has its address always, behind the closed fence.
func (e End) Leftover(s Setup) []string {
	return slices.DeleteFunc(slices.Clone(e.Present), func(name string) bool {
		sv, _ := s.Service(name)
		return slices.Contains(e.Open, name) || (sv.Checked && slices.Contains(sv.Targets, e.Host) && slices.Contains(e.Defined, name))
	})
}

// Control is a mistake that the observer was shown.
type Control struct {
	Name    string `json:"name"`
	Flagged bool   `json:"flagged"`
}

// Write keeps the history in a file.
func (h *History) Write(path string) error {
	body, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return fmt.Errorf("keeping the history: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("keeping the history: %w", err)
	}
	if err := os.WriteFile(path, append(body, '\n'), 0o644); err != nil {
		return fmt.Errorf("keeping the history: %w", err)
	}
	return nil
}

// Read gives a history back.
func Read(path string) (*History, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a history: %w", err)
	}
	h := new(History)
	if err := json.Unmarshal(body, h); err != nil {
		return nil, fmt.Errorf("reading the history %s: %w", path, err)
	}
	return h, nil
}

package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Plan is all that a seed fixes: what there is, what is done with it, and what befalls it.
type Plan struct {
	Seed     uint64        `json:"seed"`
	Hosts    []PlanHost    `json:"hosts"`
	Services []PlanService `json:"services"`
	Clients  int           `json:"clients"`
	Failover time.Duration `json:"failover"`
	Delay    time.Duration `json:"delay"`
	Jitter   time.Duration `json:"jitter"`
	Length   time.Duration `json:"length"` // of the time with faults
	Steps    []Step        `json:"steps"`
	Idle     time.Duration `json:"idle,omitempty"`   // after which sleepers go to sleep by themselves; 0 = they do not
	Pauses   time.Duration `json:"pauses,omitempty"` // of the clients, at most; 0 = they make none
	Untold   bool          `json:"untold,omitempty"` // no agent sees how its host's clocks are bent
}

// PlanHost is one host.
type PlanHost struct {
	Name    string        `json:"name"`
	Sleeper bool          `json:"sleeper"`
	Witness bool          `json:"witness,omitempty"`
	Alarm   time.Duration `json:"alarm,omitempty"` // its look_after; 0 = off
	Rate    float64       `json:"rate"`            // of its clocks
	Wall    time.Duration `json:"wall"`            // what its wall clock is wrong by
}

// PlanService is one service.
type PlanService struct {
	Name    string     `json:"name"`
	Addr    netip.Addr `json:"addr"`
	Mode    string     `json:"mode,omitempty"` // "address" or ""
	Targets []string   `json:"targets"`
	Founded bool       `json:"founded"` // else it is there only once somebody applies it
	Checked bool       `json:"checked"` // its targets are asked whether it answers
	Managed bool       `json:"managed"` // the agents start and stop its unit
}

// Step is one thing that is done at a moment, counted from when the cluster is whole.
type Step struct {
	At      time.Duration `json:"at"`
	Verb    string        `json:"verb"`
	Host    string        `json:"host,omitempty"` // a name, "leader", or "holder:" and a service
	For     time.Duration `json:"for,omitempty"`
	Service string        `json:"service,omitempty"`
	Arg     string        `json:"arg,omitempty"`
	Others  []string      `json:"others,omitempty"`
	Loss    float64       `json:"loss,omitempty"`
	Double  float64       `json:"double,omitempty"`
	Delay   time.Duration `json:"delay,omitempty"`
	By      time.Duration `json:"by,omitempty"`
	Bend    float64       `json:"bend,omitempty"` // of a host's clocks: seconds that they gain in a second
}

// Commands are the steps that an operator takes; everything else is a fault.
var commands = map[string]bool{
	"move": true, "sleep": true, "wake": true, "set": true, "apply": true, "delete": true, "leave": true, "upgrade": true, "restart": true,
}

// LongestFailover is the largest setting that may be in force.
func (p Plan) LongestFailover() time.Duration {
	most := p.Failover
	for _, s := range p.Steps {
		if s.Verb == "set" {
			most = max(most, s.By)
		}
	}
	return most
}

// Converge is what the cluster gets to have one holder for each service once everything is healed. The longest single pause in
// it is the 15 s after which an agent looks again for members that it misses; then come an election, a hand-over, and TCP's own
// repetitions.
func (p Plan) Converge() time.Duration { return 16*time.Second + 6*p.LongestFailover() }

// Settle is what it gets to answer every client: a target that kept losing a service is passed over for a minute at most.
func (p Plan) Settle() time.Duration { return p.Converge() + time.Minute }

var hostNames = []string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf"}

// NewPlan draws the plan of a seed.
func NewPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 0x706c616e))
	p := Plan{
		Seed: seed, Clients: 1, Length: 36 * time.Second,
		Failover: pick(r, time.Second, time.Second, 500*time.Millisecond, 2*time.Second),
		Delay:    time.Duration(50+r.IntN(400)) * time.Microsecond,
		Jitter:   time.Duration(r.IntN(600)) * time.Microsecond,
	}
	hosts := pick(r, 3, 3, 3, 4, 4, 5, 5, 6, 7)
	for i := range hosts {
		p.Hosts = append(p.Hosts, PlanHost{
			Name: hostNames[i], Sleeper: i > 0 && r.IntN(3) > 0, Rate: 1 + (r.Float64()-0.5)/50,
			Wall: time.Duration(r.IntN(4000)-2000) * time.Millisecond,
		})
	}
	for i := range 1 + r.IntN(3) {
		p.Services = append(p.Services, PlanService{
			Name: fmt.Sprintf("svc%d", i+1), Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(200 + i)}),
			Targets: p.drawTargets(r), Founded: i == 0 || r.IntN(2) == 0,
		})
	}
	modes := rand.New(rand.NewPCG(seed, 0x6d6f6465))
	for i := range p.Services {
		p.Services[i].Mode = pick(modes, "", "", "address")
	}
	p.drawSteps(r)
	p.drawCalls(rand.New(rand.NewPCG(seed, 0x63616c6c)))
	if seed%4 == 3 || seed%8 == 4 {
		p.drawChecks(rand.New(rand.NewPCG(seed, 0x636865636b)))
	}
	if seed%4 == 0 { // some promises are only made while nothing is wrong
		p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool { return !slices.Contains(harmless, s.Verb) })
	}
	switch few := rand.New(rand.NewPCG(seed, 0x6e69676874)); {
	case seed%16 == 10:
		p.drawLastNet(few)
	case seed%8 == 2:
		p.drawNight(few)
	case seed%16 == 6:
		p.drawDuo(few)
	case seed%16 == 14:
		p.drawWitness(few)
	case seed%16 == 15:
		p.drawIdle(few)
	}
	if seed%2 == 1 {
		p.drawBends(rand.New(rand.NewPCG(seed, 0x62656e64)))
	}
	return p
}

// drawBends has somebody set the hosts' clocks right, over and over, by bending them by up to what the kernel lets a tick be bent.
func (p *Plan) drawBends(r *rand.Rand) {
	for at := 500 * time.Millisecond; at < p.Length-2*time.Second; at += time.Duration(r.Int64N(int64(3 * time.Second))) {
		p.Steps = append(p.Steps, Step{
			At: at, Verb: "bend", Host: p.anyHost(r), For: 2*time.Second + time.Duration(r.Int64N(int64(10*time.Second))),
			Bend: pick(r, -1.0, 1.0) * pick(r, 0.1, 1.0/12, 0.05, 0.01),
		})
	}
}

// drawNight makes another plan of it: three hosts, of which one sleeps that nobody asks for anything, and another loses its
// power. The one that is left must call the sleeper, or there is no majority.
func (p *Plan) drawNight(r *rand.Rand) {
	p.Hosts = p.Hosts[:3]
	p.Hosts[2].Sleeper = true
	for i := range p.Services {
		p.Services[i].Targets = []string{p.Hosts[r.IntN(2)].Name}
	}
	asleep := 3*time.Second + time.Duration(r.Int64N(int64(8*time.Second)))
	p.Steps = []Step{
		{At: asleep, Verb: "sleep", Host: pick(r, p.Hosts...).Name, Arg: p.Hosts[2].Name, For: p.Length},
		{At: asleep + time.Second + time.Duration(r.Int64N(int64(8*time.Second))), Verb: "power", Host: p.Hosts[r.IntN(2)].Name, For: 15 * time.Second},
	}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// drawTargets prefers hosts that sleep.
func (p Plan) drawTargets(r *rand.Rand) []string {
	var out []string
	for _, i := range r.Perm(len(p.Hosts)) {
		if h := p.Hosts[i]; len(out) < 2 && (h.Sleeper || r.IntN(4) == 0) {
			out = append(out, h.Name)
		}
	}
	if len(out) == 0 || len(out) == len(p.Hosts) {
		out = []string{p.Hosts[r.IntN(len(p.Hosts))].Name}
	}
	return out
}

// anyHost draws whom a step is for: often somebody who matters.
func (p Plan) anyHost(r *rand.Rand) string {
	switch r.IntN(5) {
	case 0:
		return "leader"
	case 1, 2:
		return "holder:" + pick(r, p.Services...).Name
	}
	return pick(r, p.Hosts...).Name
}

// drawSteps fills the time: in each run the faults come at a pace of their own, from calm to furious.
func (p *Plan) drawSteps(r *rand.Rand) {
	pace := pick(r, 900*time.Millisecond, 2*time.Second, 4*time.Second)
	for at := 500 * time.Millisecond; at < p.Length-time.Second; at += time.Duration(r.Int64N(int64(2*pace))) + 10*time.Millisecond {
		p.Steps = append(p.Steps, p.drawFault(r, at))
	}
	for at := time.Second; at < p.Length-2*time.Second; at += time.Duration(r.Int64N(int64(4 * time.Second))) {
		p.Steps = append(p.Steps, p.drawCommand(r, at))
	}
}

// harmless are the commands that take nobody's daemon away.
var harmless = []string{"move", "sleep", "wake", "set", "apply", "delete"}

// drawCalls has a host that is sent to sleep called at once, now and then, while it is on its way: that takes milliseconds.
func (p *Plan) drawCalls(r *rand.Rand) {
	for _, s := range p.Steps {
		if s.Verb != "sleep" || r.IntN(2) == 0 {
			continue
		}
		x := r.Float64()
		p.Steps = append(p.Steps, Step{
			At: s.At + time.Duration(x*x*x*float64(100*time.Millisecond)), Verb: "wake", Host: pick(r, p.Hosts...).Name, Arg: s.Arg,
		})
	}
}

func (p Plan) drawFault(r *rand.Rand, at time.Duration) Step {
	ms := func(least, most int) time.Duration {
		return time.Duration(least+r.IntN(most-least)) * time.Millisecond
	}
	s := Step{At: at, Host: p.anyHost(r), For: ms(100, 8000)}
	if r.IntN(3) == 0 {
		s.For = ms(20, 1200)
	}
	s.Verb = pick(r, "kill", "kill", "stop", "stop", "power", "freeze", "isolate", "cable", "partition", "partition", "one-way",
		"flap", "noise", "noise", "clock", "disk", "disk", "foreign")
	switch s.Verb {
	case "partition":
		s.Host, s.Others = "", p.drawGroup(r)
	case "one-way":
		s.Others = p.drawGroup(r)
	case "noise":
		s.Host, s.Loss, s.Double, s.Delay = "", r.Float64()*0.4, r.Float64()*0.4, ms(0, 120)
	case "clock":
		s.By = ms(-60000, 60000)
	case "disk":
		s.Arg, s.Delay = pick(r, "slow", "full"), ms(5, 1500)
	case "foreign":
		s.Host, s.Service = "", pick(r, p.Services...).Name
	}
	s.For = min(s.For, p.Length-at)
	return s
}

// drawGroup is some of the hosts, never none and never all.
func (p Plan) drawGroup(r *rand.Rand) []string {
	order := r.Perm(len(p.Hosts))
	var out []string
	for _, i := range order[:1+r.IntN(len(p.Hosts)-1)] {
		out = append(out, p.Hosts[i].Name)
	}
	return out
}

func (p Plan) drawCommand(r *rand.Rand, at time.Duration) Step {
	s := Step{At: at, Host: pick(r, p.Hosts...).Name}
	s.Verb = pick(r, "move", "move", "sleep", "sleep", "sleep", "wake", "set", "apply", "apply", "delete", "leave", "upgrade", "restart")
	switch s.Verb {
	case "move", "apply", "delete":
		s.Service = pick(r, p.Services...).Name
		s.Arg = pick(r, p.Hosts...).Name
		if first := p.Services[0]; s.Service == first.Name && s.Verb != "apply" {
			s.Verb, s.Arg = "move", pick(r, first.Targets...) // it stays, where it runs: somebody must be asked in the end
		}
	case "sleep", "wake":
		s.Arg = pick(r, p.Hosts...).Name
		for _, i := range r.Perm(len(p.Hosts)) {
			if p.Hosts[i].Sleeper {
				s.Arg = p.Hosts[i].Name
			}
		}
		s.For = time.Duration(1+r.IntN(15)) * time.Second // the longest sleep before somebody presses the button
	case "restart":
		s.For = time.Duration(r.IntN(5000)) * time.Millisecond
	case "set":
		s.By = pick(r, 500*time.Millisecond, time.Second, 2*time.Second)
	}
	return s
}

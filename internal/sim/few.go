package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// drawDuo makes another plan of it: two hosts, whose single vote follows the services. The second one may sleep, so the vote moves
// back and forth, and all faults may meet it half way.
func (p *Plan) drawDuo(r *rand.Rand) {
	p.Hosts = p.Hosts[:2]
	p.Hosts[1].Sleeper = true
	p.few(r, p.Hosts[1].Name, p.Hosts[r.IntN(2)].Name)
	switch r.IntN(4) {
	case 0: // the death of the one that holds nothing, when the vote has long followed the services
		for i := range p.Services {
			p.Services[i].Targets = []string{p.Hosts[1].Name}
		}
		died := 24*time.Second + time.Duration(r.Int64N(int64(3*time.Second)))
		p.Steps = []Step{{At: died, Verb: pick(r, "power", "kill"), Host: p.Hosts[0].Name, For: 6 * time.Second}}
	case 1: // a death in the middle of a move, and nothing else
		asleep := 14*time.Second + time.Duration(r.Int64N(int64(4*time.Second)))
		p.Steps = []Step{
			{At: asleep, Verb: "sleep", Host: p.Hosts[r.IntN(2)].Name, Arg: p.Hosts[1].Name, For: 6 * time.Second},
			{
				At: asleep + time.Duration(r.Int64N(int64(2*p.Failover))), Verb: pick(r, "power", "kill", "isolate"),
				Host: p.Hosts[r.IntN(2)].Name, For: time.Second + time.Duration(r.Int64N(int64(8*time.Second))),
			},
		}
	}
}

// drawWitness makes three hosts of it, one of which only votes.
func (p *Plan) drawWitness(r *rand.Rand) {
	p.Hosts = p.Hosts[:3]
	p.Hosts[0].Sleeper, p.Hosts[0].Witness = false, true
	p.Hosts[2].Sleeper = true
	p.few(r, p.Hosts[2].Name, p.Hosts[1+r.IntN(2)].Name)
}

// few gives the services targets among the hosts that are left, and draws the steps for these.
func (p *Plan) few(r *rand.Rand, sleeper, other string) {
	for i := range p.Services {
		s := &p.Services[i]
		s.Checked, s.Managed, s.Targets = false, false, slices.Compact([]string{sleeper, other})
		if r.IntN(3) > 0 {
			s.Targets = s.Targets[:1]
		}
	}
	p.Steps = nil
	p.drawSteps(r)
	p.drawCalls(r)
}

// drawLastNet makes three hosts of it. One of them sleeps that nobody asks for anything, another one goes as with its lid closed (the quorum
// guard would keep it awake), and the only one that is awake dies for most of the night. Nobody is left who could call anybody: with an alarm
// the sleeper finds out by itself, without one all wait for the morning.
func (p *Plan) drawLastNet(r *rand.Rand) {
	p.Hosts, p.Length = p.Hosts[:3], 50*time.Second
	for i := range p.Hosts {
		p.Hosts[i].Sleeper = i > 0
	}
	p.Hosts[2].Alarm = pick(r, 0, 4*time.Second, 6*time.Second, 9*time.Second)
	for i := range p.Services {
		s := &p.Services[i]
		s.Checked, s.Managed, s.Targets = false, false, []string{p.Hosts[r.IntN(2)].Name}
	}
	asleep := 2*time.Second + time.Duration(r.Int64N(int64(3*time.Second)))
	lid := asleep + 2*time.Second + time.Duration(r.Int64N(int64(8*time.Second)))
	p.Steps = []Step{
		{At: asleep, Verb: "sleep", Host: p.Hosts[r.IntN(2)].Name, Arg: p.Hosts[2].Name, For: p.Length},
		{At: lid, Verb: "freeze", Host: p.Hosts[1].Name, For: p.Length - lid},
		{At: lid + time.Duration(r.Int64N(int64(500*time.Millisecond))), Verb: "power", Host: p.Hosts[0].Name, For: p.Length - lid - time.Second},
	}
}

package run

import (
	"fmt"
	"math/rand/v2"
	"time"

	"nightporter/chaos/history"
	"nightporter/chaos/lab"
	"nightporter/chaos/nemesis"
	"nightporter/config"
)

// drawShape fills in the shape of the cluster from the seed, where no number of hosts is given: three of eight seeds make five hosts and nothing else, the others the smaller
// clusters and those with something special.
func (o *Options) drawShape() {
	if o.Hosts != 0 {
		return
	}
	type shape struct {
		hosts, witnesses int
		lookAfter, idle  time.Duration
	}
	const s = time.Second
	shapes := []shape{{5, 0, 0, 0}, {5, 0, 0, 0}, {5, 0, 0, 0}, {5, 0, 0, 3 * s}, {2, 0, 0, 0}, {3, 1, 0, 0}, {3, 0, 4 * s, 0}, {5, 1, 6 * s, 0}}
	drawn := shapes[rand.New(rand.NewPCG(o.Seed, 0x7368617065)).IntN(len(shapes))]
	o.Hosts, o.Witnesses, o.LookAfter, o.Idle = drawn.hosts, drawn.witnesses, drawn.lookAfter, drawn.idle
}

// Shape says it in words.
func (o Options) Shape() string {
	s := fmt.Sprintf("%d hosts", o.Hosts)
	switch {
	case o.Witnesses == 1:
		s += ", one of them a witness"
	case o.Witnesses > 1:
		s += fmt.Sprintf(", %d of them witnesses", o.Witnesses)
	}
	if o.LookAfter > 0 {
		s += fmt.Sprintf(", the sleepers look after the others every %s", o.LookAfter)
	}
	if o.Idle > 0 {
		s += fmt.Sprintf(", the sleepers go to sleep after %s of idleness", o.Idle)
	}
	return s
}

// field is the cluster of a run, which follows from its shape. The last hosts are the witnesses; of the others the last two fifths, at least one,
// may sleep and run the services "web" and "files"; "mail" runs on hosts that are always on. Of two hosts the second one may sleep, and both run "files" and "mail".
// Which of the services are in mode address follows from the seed: one of these three, and some of those that come and go.
type field struct {
	hosts     []string
	sleepers  []string
	numbers   []int // of the sleepers
	witnesses []int
	lookAfter time.Duration
	services  []history.Service
	extra     []history.Service
}

func fieldOf(o Options) field {
	f := field{lookAfter: o.LookAfter}
	for k := 1; k <= o.Hosts; k++ {
		f.hosts = append(f.hosts, fmt.Sprintf("h%d", k))
	}
	workers := f.hosts[:o.Hosts-o.Witnesses]
	for k := len(workers) + 1; k <= o.Hosts; k++ {
		f.witnesses = append(f.witnesses, k)
	}
	for k, most := len(workers), max(1, len(workers)*2/5); k > len(workers)-most; k-- {
		f.sleepers = append(f.sleepers, workers[k-1])
		f.numbers = append(f.numbers, k)
	}
	f.services = []history.Service{
		service(0, "web", f.sleepers...), service(1, "files", f.sleepers[len(f.sleepers)-1]), service(2, "mail", workers[1], workers[0]),
	}
	third := workers[min(2, len(workers)-1)]
	f.extra = []history.Service{service(10, "x1", workers[0], workers[1]), service(11, "x2", workers[1], third)}
	if len(workers) == 2 {
		f.services[1].Targets, f.extra[1].Targets = []string{workers[1], workers[0]}, []string{workers[1], workers[0]}
	}
	for i := range f.services {
		f.services[i].Founded = true
	}
	r := rand.New(rand.NewPCG(o.Seed, 0x6d6f6465))
	f.services[r.IntN(len(f.services))].Mode = config.ModeAddress
	for i := range f.extra {
		if r.IntN(2) == 0 {
			f.extra[i].Mode = config.ModeAddress
		}
	}
	return f
}

// stage is the field as the nemesis sees it.
func (o Options) stage(by string) nemesis.Field {
	f := fieldOf(o)
	return nemesis.Field{Hosts: f.hosts, Sleepers: f.sleepers, Services: f.names(), Switch: by, Failover: o.Failover, LookAfter: o.LookAfter}
}

// Plan gives the deeds of a run without carrying them out.
func (o Options) Plan() []nemesis.Deed {
	if o.Deeds != nil {
		return o.Deeds
	}
	o.drawShape()
	by := o.Switch
	if by == Auto {
		by = lab.SwitchUser
	}
	return nemesis.Plan(o.Seed, o.stage(by), o.Duration)
}

// settleSwitch chooses the switch that the plan needs.
func (o *Options) settleSwitch() {
	if o.Switch != Auto {
		return
	}
	o.Switch = lab.SwitchBridge
	for _, d := range nemesis.Plan(o.Seed, o.stage(lab.SwitchUser), o.Duration) {
		if d.Kind == history.Noise && d.Way != "loss" {
			o.Switch = lab.SwitchUser
		}
	}
}

// beside are the checks that have nothing to judge in a cluster of this shape, however long it runs; the simulation has all shapes.
func (o Options) beside() []string {
	stories := map[history.Kind]bool{}
	for _, k := range nemesis.Stories(o.stage(o.Switch)) {
		stories[k] = true
	}
	var out []string
	for check, story := range map[string]history.Kind{"quorum-wake": nemesis.Dusk, "last-net": nemesis.Night, "single-vote": nemesis.Lone} {
		if !stories[story] {
			out = append(out, check)
		}
	}
	if o.Hosts < 3 {
		out = append(out, "steady-votes")
	}
	return out
}

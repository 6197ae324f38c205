package nemesis

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// Scout tells who has a role now; "" = nobody is known.
type Scout interface {
	Leader() string
	Holder(service string) string
	// Serves says whether a host is one of the targets of a service.
	Serves(service, host string) bool
	// Address is where clients find a service.
	Address(service string) lab.Claim
}

// Nemesis carries a plan out.
type Nemesis struct {
	Lab     *lab.Lab
	Journal *history.Journal
	Scout   Scout
	Stage   Stage // of the stories; a field of a shape without any needs none
	Field   Field
	Foreign string // a place without an agent that takes addresses, and from which strangers send
	// Forget makes the cluster forget a host whose data is lost. It is asked for until it succeeds.
	Forget func(ctx context.Context, host string) error
	Tell   func(line string) // what is done, as it is done

	wires  sync.Mutex // cables and paths: one deed at a time
	losses sync.Mutex // lost disks: who loses two of three voters' at once has lost the cluster

	mu    sync.Mutex
	busy  map[string]bool
	free  chan struct{} // closed when a host is not busy any more
	lost  []string      // wiped, and not forgotten yet
	wrong []error       // of the laboratory itself
}

// atOnce is how many deeds may be under way.
const atOnce = 3

// Run does every deed at its time, counted without what stories take longer than planned, and returns when all are over. An error says that the laboratory failed, not the cluster.
func (n *Nemesis) Run(ctx context.Context, plan []Deed) error {
	began := time.Now()
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, atOnce)
	for _, d := range plan {
		if !wait(ctx, time.Until(began.Add(d.At))) {
			break
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return n.failure()
		}
		hosts := n.seize(ctx, d)
		if hosts == nil {
			<-slots
			continue // the run ends
		}
		if d.story() { // all that comes after it is put off by what it took
			start := time.Now()
			n.carryOut(ctx, d, hosts)
			n.release(hosts)
			<-slots
			began = began.Add(time.Since(start) - d.For)
			continue
		}
		running.Go(func() {
			defer func() { <-slots }()
			defer n.release(hosts)
			n.carryOut(ctx, d, hosts)
		})
	}
	running.Wait()
	return n.failure()
}

func (n *Nemesis) failure() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.wrong) > 0 {
		return n.wrong[0]
	}
	return nil
}

// fail notes that the laboratory did not do what it was asked for.
func (n *Nemesis) fail(d Deed, host string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wrong = append(n.wrong, fmt.Errorf("%s %s: %w", d.Kind, host, err))
}

// seize chooses the hosts of a deed and keeps others from them. nil: ctx ended.
func (n *Nemesis) seize(ctx context.Context, d Deed) []string {
	for {
		n.mu.Lock()
		if n.free == nil {
			n.free = make(chan struct{})
		}
		free := n.free
		hosts := n.choose(ctx, d)
		n.seized(hosts...)
		n.mu.Unlock()
		if hosts != nil {
			return hosts
		}
		select {
		case <-free:
		case <-time.After(200 * time.Millisecond): // a host may have been woken meanwhile
		case <-ctx.Done():
			return nil
		}
	}
}

// Take keeps the nemesis away from a host until release, and says whether that can be had now: somebody who ends an agent
// and starts it again must not undo a deed.
func (n *Nemesis) Take(host string) (release func(), free bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy[host] {
		return nil, false
	}
	n.seized(host)
	return func() { n.release([]string{host}) }, true
}

func (n *Nemesis) seized(hosts ...string) {
	if n.busy == nil {
		n.busy = map[string]bool{}
	}
	for _, h := range hosts {
		n.busy[h] = true
	}
}

func (n *Nemesis) release(hosts []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range hosts {
		delete(n.busy, h)
	}
	if n.free != nil {
		close(n.free)
		n.free = nil
	}
}

// choose gives the hosts of a deed, all of them free and up, or nil.
func (n *Nemesis) choose(ctx context.Context, d Deed) []string {
	up := n.up(ctx)
	can := func(h string) bool { return !n.busy[h] && slices.Contains(up, h) }
	switch {
	case d.Role == All:
		if len(n.busy) > 0 {
			return nil
		}
		return slices.Clone(n.Field.Hosts)
	case len(d.Group) > 0 || d.Kind == history.Noise || d.Kind == history.Garbage || d.Kind == history.Foreign:
		return []string{} // whoever there is
	}
	if h := n.role(d); h != "" && can(h) {
		return []string{h}
	}
	from := slices.Index(n.Field.Hosts, d.Host)
	for i := range n.Field.Hosts {
		if h := n.Field.Hosts[(from+i)%len(n.Field.Hosts)]; can(h) {
			return []string{h}
		}
	}
	return nil
}

// up gives the hosts that run now.
func (n *Nemesis) up(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	st, err := n.Lab.Status(ctx)
	if err != nil {
		return nil
	}
	var out []string
	for _, h := range st.Hosts {
		if h.Power == lab.PowerUp && h.Agent == "running" {
			out = append(out, h.Name)
		}
	}
	return out
}

func (n *Nemesis) role(d Deed) string {
	switch d.Role {
	case Leader:
		return n.Scout.Leader()
	case Holder:
		return n.Scout.Holder(d.Service)
	case Front:
		for _, sv := range append([]string{d.Service}, n.Field.Services...) {
			if h := n.Scout.Holder(sv); h != "" && !n.Scout.Serves(sv, h) {
				return h
			}
		}
		return n.Scout.Holder(d.Service)
	}
	return d.Host
}

// carryOut does one deed and undoes it.
func (n *Nemesis) carryOut(ctx context.Context, d Deed, hosts []string) {
	n.Tell(fmt.Sprintf("%s: %s", d, hosts))
	deeds := map[history.Kind]func(context.Context, Deed, string) error{
		history.Kill: n.kill, history.Stop: n.stop, history.PowerOff: n.powerOff, history.Restart: n.restart, history.Freeze: n.freeze,
		history.Isolate: n.isolate, history.Cable: n.cable, history.Flap: n.flap, history.Partition: n.partition, history.OneWay: n.oneWay,
		history.Noise: n.noise, history.Starve: n.starve, history.Clock: n.clock, history.Disk: n.disk, history.Wipe: n.wipe,
		history.Damage: n.damage, history.Foreign: n.foreign, history.Garbage: n.garbage,
	}
	if d.story() {
		if err := n.story(ctx, d); err != nil {
			n.fail(d, "", err)
		}
		return
	}
	do, known := deeds[d.Kind]
	if !known {
		n.fail(d, "", fmt.Errorf("there is no such deed"))
		return
	}
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	var all sync.WaitGroup
	for _, h := range hosts {
		all.Go(func() {
			// What was begun is undone even when the run is over.
			if err := do(ctx, d, h); err != nil {
				n.fail(d, h, err)
			}
		})
	}
	all.Wait()
}

// wait returns false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// undoing is the context in which something is undone.
func undoing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/config"
)

// manyServices is how many are moved at once.
const manyServices = 200

// many gives a lot of services from one host to another at one time, as before its maintenance.
func many(ctx context.Context, o *Options) (Table, error) {
	const hosts, failover = 3, 10 * time.Second // so that the renewals of all these leases are a small part of what is measured
	t := Table{
		Title: fmt.Sprintf("%d services moved at once (one `nightporter move` each, all at one time; %d hosts, all voters, failover: %v)", manyServices, hosts, failover),
		Notes: []string{
			"closed to open: of one service, from the instant at which its fence closed here to the one at which it opened there",
			"first to last: from the first fence that closed to the last that opened",
			"all: from the order to the last answer",
		},
	}
	each := Row{Name: "closed to open, each", Unit: "ms", Goal: Goal{Max: 50}}
	worst := Row{Name: "closed to open, the worst of a round", Unit: "ms"}
	span := Row{Name: "first closed to last open", Unit: "ms"}
	order := Row{Name: "all, from the order", Unit: "ms"}
	lo := alwaysOn(o, hosts, failover)
	lo.Services = manyOf(hostNames(hosts))
	err := inLab(ctx, lo, func(ctx context.Context, l *lab.Lab) error {
		for i := range max(o.Slow/4, 1) {
			m, err := moveMany(ctx, l, hostNames(hosts), failover)
			if err != nil {
				return fmt.Errorf("round %d: %w", i+1, err)
			}
			for _, d := range m.each {
				each.add(d)
			}
			worst.add(slices.Max(m.each))
			span.add(m.span)
			order.add(m.order)
			o.say("%d services: the worst gap %v, from first to last %v, all after %v", manyServices, short(slices.Max(m.each)), short(m.span), short(m.order))
		}
		return nil
	})
	t.Rows = []Row{each, worst, span, order}
	return t, err
}

// manyOf are the services: those addresses of the lab's network that nobody has.
func manyOf(targets []string) (out []config.Service) {
	for n := 1; len(out) < manyServices; n++ {
		if n > 10 && n < 21 || n > 100 && n < 110 { // hosts, clients
			continue
		}
		out = append(out, config.Service{
			Name: fmt.Sprintf("s%d", n), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 77, 0, byte(n)})}, Hold: config.HoldDrop,
			Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}}, Targets: targets,
		})
	}
	return out
}

// movedMany is one round.
type movedMany struct {
	each        []time.Duration
	span, order time.Duration
}

func moveMany(ctx context.Context, l *lab.Lab, hosts []string, failover time.Duration) (m movedMany, err error) {
	holder, leader, epochs, err := gathered(ctx, l, hosts, failover/4)
	if err != nil {
		return m, err
	}
	to := other(hosts, holder, leader)
	if to == "" {
		to = other(hosts, holder)
	}
	began := time.Now()
	if err := moveAll(ctx, l, leader, to, epochs); err != nil {
		return m, err
	}
	m.order = time.Since(began)
	closed, err := stampsOf(ctx, l, holder, "identity released", epochs, 0)
	if err != nil {
		return m, err
	}
	opened, err := stampsOf(ctx, l, to, "identity opened", epochs, 1)
	if err != nil {
		return m, err
	}
	var first, last time.Duration
	for name := range epochs {
		m.each = append(m.each, opened[name]-closed[name])
		if first == 0 || closed[name] < first {
			first = closed[name]
		}
		last = max(last, opened[name])
	}
	m.span = last - first
	return m, nil
}

// moveAll orders all moves at one time and waits for the answers.
func moveAll(ctx context.Context, l *lab.Lab, via, to string, services map[string]uint64) error {
	ctx, cancel := context.WithTimeout(ctx, gathering)
	defer cancel()
	c := l.Host(via).API()
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for name := range services {
		all.Go(func() {
			if _, err := c.Move(ctx, name, to); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// gathering is what 200 services may take to be together and at rest.
const gathering = 3 * patience

// gathered waits until one host holds all services, and gives that and the epochs. Where they are spread, they are moved together.
func gathered(ctx context.Context, l *lab.Lab, hosts []string, quiet time.Duration) (holder, leader string, epochs map[string]uint64, err error) {
	since := time.Now()
	err = within(ctx, gathering, "one host holds all services", func(ctx context.Context) string {
		missing := ""
		leader, holder, epochs, missing = manyHeld(ctx, l, hosts)
		if missing == "" && holder == "" {
			missing = "they are spread"
			if err := moveAll(ctx, l, leader, other(hosts, leader), epochs); err != nil {
				missing = err.Error()
			}
		}
		if missing != "" {
			since = time.Now()
			return missing
		}
		if time.Since(since) < quiet {
			return "they only just are"
		}
		return ""
	})
	return holder, leader, epochs, err
}

// manyHeld says who leads, and who holds all services: "" = several.
func manyHeld(ctx context.Context, l *lab.Lab, hosts []string) (leader, holder string, epochs map[string]uint64, missing string) {
	epochs = map[string]uint64{}
	for i, h := range hosts {
		st, err := l.Host(h).API().Status(ctx)
		if err != nil {
			return "", "", nil, err.Error()
		}
		if st.Leader == "" || len(st.Nodes) != len(hosts) || len(st.Services) != manyServices || i > 0 && st.Leader != leader {
			return "", "", nil, fmt.Sprintf("%s sees leader %q and %d services", h, st.Leader, len(st.Services))
		}
		leader = st.Leader
		for _, sv := range st.Services {
			if sv.OwnerState != "serving" {
				return "", "", nil, sv.Name + " is " + sv.OwnerState
			}
			if i > 0 && epochs[sv.Name] != sv.Epoch {
				return "", "", nil, "they disagree"
			}
			epochs[sv.Name] = sv.Epoch
		}
		if owners := ownersOf(st.Services); len(owners) == 1 {
			holder = owners[0]
		}
	}
	return leader, holder, epochs, ""
}

func ownersOf(list []api.ServiceStatus) (out []string) {
	for _, sv := range list {
		if !slices.Contains(out, sv.Owner) {
			out = append(out, sv.Owner)
		}
	}
	return out
}

// stampsOf waits for the log lines of all services, each of its epoch or a few later.
func stampsOf(ctx context.Context, l *lab.Lab, host, what string, epochs map[string]uint64, later uint64) (at map[string]time.Duration, err error) {
	line := regexp.MustCompile(`msg="` + what + `" .*\bservice=(\S+) .*\bepoch=(\d+) .*\bboottime_ns=(\d+)`)
	err = until(ctx, fmt.Sprintf("%s logs %q of all", host, what), func(context.Context) string {
		log, err := os.ReadFile(agentLog(l, host))
		if err != nil {
			return err.Error()
		}
		at = map[string]time.Duration{}
		for _, m := range line.FindAllSubmatch(log, -1) {
			name := string(m[1])
			epoch, _ := strconv.ParseUint(string(m[2]), 10, 64) // digits
			if ns, err := strconv.ParseInt(string(m[3]), 10, 64); err == nil && epoch == epochs[name]+later {
				at[name] = time.Duration(ns)
			}
		}
		if len(at) < len(epochs) {
			return fmt.Sprintf("%d of %d", len(at), len(epochs))
		}
		return ""
	})
	return at, err
}

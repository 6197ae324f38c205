package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/api"
	"nightporter/chaos/lab"
	"nightporter/config"
)

const service = "web"

// alwaysOn is a lab whose hosts all serve and never sleep.
func alwaysOn(o *Options, hosts int, failover time.Duration) lab.Options {
	sv := config.Service{
		Name: service, Addresses: []netip.Addr{lab.ServiceAddr()}, Hold: config.HoldDrop,
		Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}, {Protocol: "udp", Number: lab.ServerPort}},
	}
	for k := range hosts {
		sv.Targets = append(sv.Targets, fmt.Sprintf("h%d", k+1))
	}
	return lab.Options{Binary: o.Binary, Hosts: hosts, Sleepers: []int{}, Failover: failover, Services: []config.Service{sv}}
}

// state is what one host says of the cluster.
type state struct {
	leader, holder string
	epoch          uint64
	mac            string // mac0 in the form of its bytes, so that states can be compared
}

// String is half a sentence for a person.
func (s state) String() string {
	return fmt.Sprintf("%q leads and %q holds epoch %d", s.leader, s.holder, s.epoch)
}

// whole waits until all hosts are members in touch, three of them vote, and the service is open at its owner; and that for
// as long as a voter that was just started keeps silent (protocol rule 1).
func whole(ctx context.Context, l *lab.Lab, hosts []string, failover time.Duration) (state, error) {
	var s state
	since := time.Now()
	err := until(ctx, "the cluster is whole", func(ctx context.Context) string {
		var missing string
		if s, missing = look(ctx, l, hosts); missing != "" {
			since = time.Now()
			return missing
		}
		if time.Since(since) < failover {
			return "it only just is"
		}
		return ""
	})
	return s, err
}

// look asks every host and says what is missing.
func look(ctx context.Context, l *lab.Lab, hosts []string) (s state, missing string) {
	for i, h := range hosts {
		st, err := status(ctx, l, h)
		if err != nil {
			return s, fmt.Sprintf("%s: %v", h, err)
		}
		alive := 0
		for _, n := range st.Nodes {
			if n.Alive && n.Power == "awake" && slices.Contains(hosts, n.Name) {
				alive++
			}
		}
		if alive != len(hosts) || st.Leader == "" || len(st.Quorum.Awake) != 3 || len(st.Services) != 1 {
			return s, fmt.Sprintf("%s sees %d of %d nodes, leader %q, %d voters", h, alive, len(hosts), st.Leader, len(st.Quorum.Awake))
		}
		sv := st.Services[0]
		now := state{st.Leader, sv.Owner, sv.Epoch, string(sv.MAC)}
		if i > 0 && now != s {
			return s, fmt.Sprintf("%s says that %v, others that %v", h, now, s)
		}
		s = now
		if sv.Owner == h && sv.Role != "serving" {
			return s, h + " owns and is " + sv.Role
		}
	}
	return s, ""
}

func status(ctx context.Context, l *lab.Lab, host string) (api.Status, error) {
	c := l.Host(host).API()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return c.Status(ctx)
}

func moveTo(ctx context.Context, l *lab.Lab, via, to string) error {
	c := l.Host(via).API()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := c.Move(ctx, service, to)
	return err
}

func agentLog(l *lab.Lab, host string) string { return filepath.Join(l.Host(host).Dir(), "agent.log") }

// stamp finds in a host's log the instant on CLOCK_BOOTTIME, which all hosts of a lab share, at which it opened or closed
// the fence of an epoch or of the next one after it; 0 = not yet.
func stamp(log []byte, what string, epoch uint64) time.Duration {
	line := regexp.MustCompile(`msg="` + what + `" .*\bepoch=(\d+) .*\bboottime_ns=(\d+)`)
	for _, m := range line.FindAllSubmatch(log, -1) {
		of, err := strconv.ParseUint(string(m[1]), 10, 64)
		if err != nil || of < epoch {
			continue
		}
		if ns, err := strconv.ParseInt(string(m[2]), 10, 64); err == nil {
			return time.Duration(ns)
		}
	}
	return 0
}

// awaitStamp waits for the log line.
func awaitStamp(ctx context.Context, l *lab.Lab, host, what string, epoch uint64) (time.Duration, error) {
	var at time.Duration
	err := until(ctx, fmt.Sprintf("%s logs %q", host, what), func(context.Context) string {
		log, err := os.ReadFile(agentLog(l, host))
		if err != nil {
			return err.Error()
		}
		if at = stamp(log, what, epoch); at == 0 {
			return "not there yet"
		}
		return ""
	})
	return at, err
}

// sinceBoot gives an instant of the wall clock on CLOCK_BOOTTIME, if nobody has set the wall clock in between.
func sinceBoot(at time.Time) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("reading CLOCK_BOOTTIME: %w", err)
	}
	return time.Duration(ts.Nano()) - time.Since(at), nil
}

func hostNames(n int) []string {
	var out []string
	for k := range n {
		out = append(out, fmt.Sprintf("h%d", k+1))
	}
	return out
}

// other gives a host that is none of those named.
func other(hosts []string, not ...string) string {
	for _, h := range hosts {
		if !slices.Contains(not, h) {
			return h
		}
	}
	return ""
}

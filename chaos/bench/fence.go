package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"nightporter/chaos/lab"
)

// FenceCostsVerb is the verb of `nightporter lab` that measures inside a host, where the fence is.
const FenceCostsVerb = "fence-costs"

// fenceRounds is how often all kinds of fence take their turn. Each gives thousands of samples of the short quantities.
const fenceRounds = 10

// costs is what that verb says; see identity.Costs.
type costs struct {
	Costs []struct {
		Name    string    `json:"name"`
		Unit    string    `json:"unit"`
		Samples []float64 `json:"samples"`
	} `json:"costs"`
	Cuts []struct {
		Kind string  `json:"kind"`
		At   []int64 `json:"at"`
	} `json:"cuts"`
}

// fence measures what a fence costs and how exact it is, on one host that speaks to another. Without root there is no BPF to measure.
func fence(ctx context.Context, o *Options) (Table, error) {
	t := Table{
		Title: "The kernel's fence: none, nftables, BPF (one host to another, over macvlan, veth and bridge)",
		Notes: []string{
			"renewal: one call that moves the deadline of an open fence",
			"there and back: 64 bytes by UDP, lines of 256 KiB by TCP, to a server in Go on the same two cores; both ways pass the fence",
			"program of ...: BPF_PROG_TEST_RUN, the mean of 200,000 packets in the kernel, for each round",
			"before and after the deadline: the last frame of a flood, as it comes in at the switch",
		},
	}
	if os.Getuid() != 0 {
		o.say("fence: left out, BPF needs root")
		return t, nil
	}
	lo := lab.Options{Hosts: 2, NoAgent: true, Sleepers: []int{}, Binary: o.Binary}
	err := inLab(ctx, lo, func(ctx context.Context, l *lab.Lab) error {
		from, to := l.Host("h1"), netip.AddrPortFrom(l.Host("h2").Addr(), lab.ServerPort)
		film, err := filmed(ctx, l, from.Name())
		if err != nil {
			return err
		}
		o.say("fence: measuring")
		said, err := from.Output(ctx, "nightporter", "lab", FenceCostsVerb, "eth0", lab.ServiceAddr().String(), to.String(), strconv.Itoa(fenceRounds))
		frames, ferr := film()
		if err := errors.Join(err, ferr); err != nil {
			return err
		}
		var c costs
		if err := json.Unmarshal([]byte(said), &c); err != nil {
			return fmt.Errorf("reading what was measured: %w", err)
		}
		for _, one := range c.Costs {
			t.Rows = append(t.Rows, Row{Name: one.Name, Unit: one.Unit, Samples: one.Samples})
		}
		for _, cut := range c.Cuts {
			t.Rows = append(t.Rows, cutOff(cut.Kind, cut.At, frames)...)
		}
		return nil
	})
	return t, err
}

// cutOff compares each deadline with the last frame around it. A flood goes on for 10 ms after its deadline, and the next one has its
// deadline 20 ms later. A frame that was judged in time may get its time stamp a moment after the deadline.
func cutOff(kind string, deadlines []int64, frames []time.Time) []Row {
	early := Row{Name: "last frame before the deadline, " + kind, Unit: "us"}
	late := Row{Name: "and after it, " + kind, Unit: "us", Goal: Goal{Max: 1000}}
	for _, ns := range deadlines {
		end := time.Unix(0, ns)
		i, _ := slices.BinarySearchFunc(frames, end.Add(10*time.Millisecond), time.Time.Compare)
		if i == 0 {
			continue // nothing was filmed: the rows then have fewer samples
		}
		by := float64(end.Sub(frames[i-1]).Nanoseconds()) / 1e3
		early.Samples, late.Samples = append(early.Samples, max(by, 0)), append(late.Samples, max(-by, 0))
	}
	return []Row{early, late}
}

// filmed notes when frames of the service's address come out of a host.
func filmed(ctx context.Context, l *lab.Lab, host string) (end func() ([]time.Time, error), err error) {
	tap, err := l.Capture(ctx, nil, false)
	if err != nil {
		return nil, err
	}
	ip0 := lab.ServiceAddr().As4()
	var at []time.Time
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range tap.Frames() {
			// IPv4 and UDP, from ip0, in a frame as short as the flood's.
			if !f.ToHost && f.Port == host && len(f.Data) >= 34 && f.Length < 70 && f.Data[23] == 17 && [4]byte(f.Data[26:30]) == ip0 {
				at = append(at, f.Time)
			}
		}
	}()
	return func() ([]time.Time, error) {
		_, err := tap.Stop() // what was lost was lost in a flood of TCP, long before a deadline
		<-done
		slices.SortFunc(at, time.Time.Compare)
		return at, err
	}, nil
}

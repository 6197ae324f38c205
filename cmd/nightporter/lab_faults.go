package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// labFaultCommands are the verbs that make the lab's network and hosts faulty, and well again.
func labFaultCommands(dir *string) []*cobra.Command {
	return []*cobra.Command{
		labShapeCommand(dir), labSmoothCommand(dir), labClockCommand(dir), labDiskCommand(dir), labStarveCommand(dir),
		labClaimCommand(dir), labUnclaimCommand(dir), labWipeCommand(dir), labDamageCommand(dir), labGarbageCommand(dir), labCardCommand(dir),
	}
}

func labShapeCommand(dir *string) *cobra.Command {
	var s lab.Shape
	cmd := &cobra.Command{
		Use:   "shape",
		Short: "Lose, double, reorder or delay the frames of a path",
		Long: `Lose, double, reorder or delay the frames that the switch takes from one place to another; without --from or
--to, those of every place. Of several shapes that fit a frame only the most exact one counts. A shape takes the
place of an earlier one with the same --from and --to. The kernel's bridge can only lose frames; the rest needs a
lab that was built with --switch user.`,
		Example: `  nightporter lab shape --loss 0.05
  nightporter lab shape --from h1 --to h2 --delay 20ms --jitter 10ms --reorder 0.1`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return l.Shape(ctx, s) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.From, "from", "", "where the frames come from (default every place)")
	f.StringVar(&s.To, "to", "", "where they go (default every place)")
	f.Float64Var(&s.Loss, "loss", 0, "share of the frames that are lost, 0 to 1")
	f.Float64Var(&s.Duplicate, "duplicate", 0, "share that comes twice")
	f.Float64Var(&s.Reorder, "reorder", 0, "share that the next frame passes")
	f.DurationVar(&s.Delay, "delay", 0, "what every frame needs longer")
	f.DurationVar(&s.Jitter, "jitter", 0, "how much longer still, by chance")
	f.Uint64Var(&s.Seed, "seed", 0, "of the chances")
	return cmd
}

func labSmoothCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:     "smooth [HOST]",
		Short:   "Treat all paths, or those of one host, as before any shape",
		Example: `  nightporter lab smooth h1`,
		Args:    takes(0, 1, "name one HOST at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			place := ""
			if len(args) > 0 {
				place = args[0]
			}
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return l.Smooth(ctx, place) })
		},
	}
}

func labClockCommand(dir *string) *cobra.Command {
	var s lab.ClockShift
	cmd := &cobra.Command{
		Use:   "clock HOST",
		Short: "Let the clocks of a host's agent jump",
		Long: `Let the clocks of a host's agent jump, on top of earlier jumps. The machine's own clocks are not touched: the lab
hands the agent by how much its clocks are off.`,
		Example: `  nightporter lab clock h1 --wall -1h
  nightporter lab clock h1 --mono -10s # as after a sleep of 10 s`,
		Args: takes(1, 1, "name one HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return l.Clock(ctx, args[0], s) })
		},
	}
	f := cmd.Flags()
	f.DurationVar(&s.Boot, "boot", 0, "CLOCK_BOOTTIME")
	f.DurationVar(&s.Mono, "mono", 0, "CLOCK_MONOTONIC")
	f.DurationVar(&s.Wall, "wall", 0, "the wall clock")
	return cmd
}

func labDiskCommand(dir *string) *cobra.Command {
	var fault lab.DiskFault
	var errno string
	cmd := &cobra.Command{
		Use:   "disk HOST",
		Short: "Make the disk of a host's agent slow or let it refuse; healthy without flags",
		Example: `  nightporter lab disk h1 --delay 200ms
  nightporter lab disk h1 --error ENOSPC --share 0.5
  nightporter lab disk h1`,
		Args: takes(1, 1, "name one HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if errno != "" {
				if fault.Errno = errnoOf(errno); fault.Errno == 0 {
					return usageError{fmt.Errorf("there is no error %q; write ENOSPC, EIO or another name from errno(3)", errno)}
				}
			}
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return l.Disk(ctx, args[0], fault) })
		},
	}
	f := cmd.Flags()
	f.DurationVar(&fault.Delay, "delay", 0, "what every write needs longer")
	f.StringVar(&errno, "error", "", "how writes fail: ENOSPC, EIO, ...")
	f.Float64Var(&fault.Share, "share", 0, "share of the writes that fail, 0 to 1 (default all)")
	return cmd
}

// errnoOf finds an error by its name; 0 = there is none.
func errnoOf(name string) syscall.Errno {
	for e := syscall.Errno(1); e < 200; e++ {
		if unix.ErrnoName(e) == name {
			return e
		}
	}
	return 0
}

func labStarveCommand(dir *string) *cobra.Command {
	var period time.Duration
	var share float64
	cmd := &cobra.Command{
		Use:     "starve HOST",
		Short:   "Stop a host's agent for a share of the time; --share 0 ends it",
		Example: `  nightporter lab starve h1 --share 0.8 --period 200ms`,
		Args:    takes(1, 1, "name one HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return l.Starve(ctx, args[0], share, period) })
		},
	}
	cmd.Flags().Float64Var(&share, "share", 0.5, "share of the time in which it is stopped, below 1")
	cmd.Flags().DurationVar(&period, "period", 200*time.Millisecond, "how often it is stopped")
	return cmd
}

func labClaimCommand(dir *string) *cobra.Command {
	var mac string
	cmd := &cobra.Command{
		Use:   "claim PLACE ADDRESS",
		Short: "Let a host or a client use an address without any right to it",
		Example: `  nightporter lab claim c1 10.77.0.200
  nightporter lab claim h2 10.77.0.200 --mac 02:00:00:00:00:99`,
		Args: takes(2, 2, "name a PLACE and an ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := netip.ParseAddr(args[1])
			if err != nil {
				return usageError{fmt.Errorf("%q is not an address; write for example 10.77.0.200", args[1])}
			}
			c := lab.Claim{Addr: addr}
			if mac != "" {
				if c.MAC, err = net.ParseMAC(mac); err != nil {
					return usageError{fmt.Errorf("%q is not a MAC; write for example 02:00:00:00:00:99", mac)}
				}
			}
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return l.Claim(ctx, args[0], c) })
		},
	}
	cmd.Flags().StringVar(&mac, "mac", "", "on a macvlan with this MAC (default: on the card itself)")
	return cmd
}

func labUnclaimCommand(dir *string) *cobra.Command {
	return onLab(dir, "unclaim", "Take away what a host or a client claims", (*lab.Lab).Unclaim)
}

func labWipeCommand(dir *string) *cobra.Command {
	return onLab(dir, "wipe", "Empty the data directory of a host that is off, as a new disk", (*lab.Lab).Wipe)
}

// onLab makes a verb that does one thing to one place.
func onLab(dir *string, use, short string, f func(*lab.Lab, context.Context, string) error) *cobra.Command {
	return onHost(dir, use, short, func(ctx context.Context, h *lab.Host) error { return f(h.Lab(), ctx, h.Name()) })
}

func labDamageCommand(dir *string) *cobra.Command {
	var seed uint64
	cmd := &cobra.Command{
		Use:     "damage HOST",
		Short:   "Damage a file of Raft's store of a host that is off",
		Example: `  nightporter lab damage h3 --seed 7`,
		Args:    takes(1, 1, "name one HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error {
				d, err := l.Damage(ctx, args[0], seed)
				if err != nil {
					return err
				}
				return showAs(cmd, d, func(p *page) { p.line("%s: %d bytes from %d on %s", d.File, d.Length, d.Offset, d.How) })
			})
		},
	}
	cmd.Flags().Uint64Var(&seed, "seed", 0, "chooses the file, the place and the kind")
	return cmd
}

func labGarbageCommand(dir *string) *cobra.Command {
	var seed uint64
	var count int
	cmd := &cobra.Command{
		Use:     "garbage PLACE",
		Short:   "Send random and almost right bytes to the ports of all hosts",
		Example: `  nightporter lab garbage c1 --count 500`,
		Args:    takes(1, 1, "name a PLACE to send from"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 {
				return usageError{errors.New("--count must be at least 1")}
			}
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error {
				sent, err := l.Garbage(ctx, args[0], seed, count)
				if err != nil {
					return err
				}
				return showAs(cmd, sent, func(p *page) { drawLitter(p, sent) })
			})
		},
	}
	cmd.Flags().Uint64Var(&seed, "seed", 0, "fixes what is sent")
	cmd.Flags().IntVar(&count, "count", 100, "how many things are sent")
	return cmd
}

func drawLitter(p *page, sent []lab.Litter) {
	type line struct{ network, kind, end string }
	count := map[line]int{}
	var order []line
	for _, it := range sent {
		k := line{it.Network, it.Kind, it.End}
		if count[k] == 0 {
			order = append(order, k)
		}
		count[k]++
	}
	var rows [][]string
	for _, k := range order {
		rows = append(rows, []string{fmt.Sprint(count[k]), k.network, k.kind, k.end})
	}
	p.table([]string{"COUNT", "OVER", "WHAT", "CAME TO"}, rows)
}

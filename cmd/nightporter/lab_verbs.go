package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

func labStatusCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "What every host of the lab does",
		Args:  takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error {
				st, err := l.Status(ctx)
				if err != nil {
					return err
				}
				return showLab(cmd, st)
			})
		},
	}
}

func labKillCommand(dir *string) *cobra.Command {
	var sig string
	cmd := &cobra.Command{
		Use:   "kill HOST",
		Short: "Take a host's power away, or send its agent a signal",
		Long: `Take a host's power away: in one instant it sends nothing more and all its processes are gone. With
--agent SIGNAL only the agent gets that signal (KILL, TERM, STOP, CONT, ...) and the host stays on.`,
		Example: `  nightporter lab kill h1
  nightporter lab kill --agent STOP h1`,
		Args: takes(1, 1, "name one HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			agentOnly, n := cmd.Flags().Changed("agent"), unix.SignalNum("SIG"+sig)
			if agentOnly && n == 0 {
				return usageError{fmt.Errorf("there is no signal %q; write KILL, TERM, STOP, CONT or another name from `kill -l`", sig)}
			}
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error {
				if !agentOnly {
					_, err := l.Host(args[0]).Kill(ctx)
					return err
				}
				return l.Host(args[0]).Signal(ctx, syscall.Signal(n))
			})
		},
	}
	cmd.Flags().StringVar(&sig, "agent", "", "the signal for the agent alone")
	return cmd
}

// onHost makes a verb that does one thing to one host.
func onHost(dir *string, use, short string, f func(context.Context, *lab.Host) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " HOST", Short: short, Example: "  nightporter lab " + use + " h4", Args: takes(1, 1, "name one HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return f(ctx, l.Host(args[0])) })
		},
	}
}

func labStartCommand(dir *string) *cobra.Command {
	return onHost(dir, "start", "Switch a host on, or start its agent again",
		func(ctx context.Context, h *lab.Host) error { return h.Start(ctx) })
}

func labSleepCommand(dir *string) *cobra.Command {
	return onHost(dir, "sleep", "Suspend a host without asking its agent, as closing a lid does",
		func(ctx context.Context, h *lab.Host) error { return h.Freeze(ctx) })
}

func labWakeCommand(dir *string) *cobra.Command {
	return onHost(dir, "wake", "Send one magic packet for a host, from the client",
		func(ctx context.Context, h *lab.Host) error { return h.Wake(ctx) })
}

func labCutCommand(dir *string) *cobra.Command {
	var c lab.Cut
	cmd := &cobra.Command{
		Use:     "cut HOST [HOST]",
		Short:   "Break the path between two hosts, or between one and all others",
		Example: `  nightporter lab cut h1 h2`,
		Args:    takes(1, 2, "name one HOST or two"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.From = args[0]; len(args) > 1 {
				c.To = args[1]
			}
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return l.Cut(ctx, c) })
		},
	}
	cmd.Flags().BoolVar(&c.OneWay, "one-way", false, "only what the first sends to the second")
	cmd.Flags().BoolVar(&c.Cable, "cable", false, "pull the first one's cable: its card sees no carrier")
	return cmd
}

func labHealCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:     "heal [HOST]",
		Short:   "Mend all paths, or those of one host",
		Example: `  nightporter lab heal h1`,
		Args:    takes(0, 1, "name one HOST at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			place := ""
			if len(args) > 0 {
				place = args[0]
			}
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return l.Heal(ctx, place) })
		},
	}
}

// asked tells whether -o json was given. In a program without that flag the answer is text.
func asked(cmd *cobra.Command) bool {
	f := cmd.Flag("output")
	return f != nil && f.Value.String() == "json"
}

// showAs prints v as JSON with -o json, else as the text that draw makes.
func showAs(cmd *cobra.Command, v any, draw func(*page)) error {
	if asked(cmd) {
		out := json.NewEncoder(cmd.OutOrStdout())
		out.SetIndent("", "  ")
		return out.Encode(v)
	}
	var p page
	draw(&p)
	_, err := cmd.OutOrStdout().Write(p.buf.Bytes())
	return err
}

func showLab(cmd *cobra.Command, st lab.Status) error {
	return showAs(cmd, st, func(p *page) {
		var rows [][]string
		for _, h := range append(append([]lab.HostStatus(nil), st.Hosts...), st.Clients...) {
			may := "always-on"
			if h.Sleeper {
				may = "sleeps"
			}
			rows = append(rows, []string{
				h.Name, string(h.Power), time.Since(h.Since).Round(time.Second).String(), may, h.Addr.String(),
				h.MAC, h.Agent, fmt.Sprint(h.Processes), h.WokenBy,
			})
		}
		p.table([]string{"HOST", "POWER", "SINCE", "POLICY", "ADDRESS", "MAC", "AGENT", "PROCESSES", "WOKEN BY"}, rows)
		for _, c := range st.Cuts {
			p.line("cut: %s", c)
		}
		for _, s := range st.Shapes {
			p.line("shape: %s", s)
		}
		for _, h := range append(append([]lab.HostStatus(nil), st.Hosts...), st.Clients...) {
			for _, fault := range h.Faults() {
				p.line("fault: %s %s", h.Name, fault)
			}
		}
		p.line("directory: %s (logs in hosts/HOST); hosts sleep by %s, and the switch is the %s one", st.Dir, st.Freezer, st.Switch)
		for _, limit := range st.Limits {
			p.line("note: %s", limit)
		}
	})
}

func showReply(cmd *cobra.Command, to netip.AddrPort, r lab.Reply) error {
	return showAs(cmd, r, func(p *page) {
		p.line("%s: connected after %v, answered after %v by %s", to, r.Connected.Round(10*time.Microsecond), r.Answered.Round(10*time.Microsecond), r.Host)
	})
}

func addrPort(s string) (netip.AddrPort, error) {
	to, err := netip.ParseAddrPort(s)
	if err != nil {
		return to, fmt.Errorf("%q is not an address with a port; write for example 10.77.0.200:8080", s)
	}
	return to, nil
}

// plainDial connects without a time limit of its own and without a second address to fall back on.
func plainDial(to netip.AddrPort) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", to.String())
	}
}

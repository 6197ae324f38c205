package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"nightporter/chaos/lab"
)

// labPatience is how long a lab verb waits for the supervisor; exec, connect and the inner verbs take as long as they take.
const labPatience = 30 * time.Second

// labCommand is `nightporter lab` with all its verbs.
func labCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A small network of hosts on this machine, to try everything",
		Long: `Hosts in network namespaces, joined by a switch in a namespace of its own, each running the real
agent and a tiny server at port 8080, and a client without an agent. Nothing of this machine's own
network is touched, no root is needed where plain users may make namespaces, and everything is gone
when the lab ends, however it ends.

Hosts are called h1, h2, ... and have the addresses 10.77.0.11, 10.77.0.12, ...; the client is c1,
10.77.0.101; the service "web" is at 10.77.0.200:8080, and its target is the last host, which may sleep.

Hosts, their links and their agents can be made to fail: kill, sleep, cut; shape, clock, disk, starve, claim, wipe,
damage, garbage, card. "lab status" lists what is wrong on purpose.`,
		Example: `  nightporter lab up --hosts 4
  nightporter lab exec h1 -- nightporter status
  nightporter lab exec h1 -- nightporter sleep h4
  nightporter lab exec c1 -- nightporter lab connect 10.77.0.200:8080
  nightporter lab kill h1
  nightporter lab shape --loss 0.05
  nightporter lab down`,
		Args: cobra.NoArgs,
		RunE: showHelp,
	}
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", labDir(), "the lab's directory: configuration, logs, control socket")
	cmd.AddCommand(
		labUpCommand(&dir), labStatusCommand(&dir), labExecCommand(&dir), labKillCommand(&dir), labStartCommand(&dir),
		labSleepCommand(&dir), labWakeCommand(&dir), labCutCommand(&dir), labHealCommand(&dir), labDownCommand(&dir),
		labConnectCommand(), labBenchCommand(),
	)
	cmd.AddCommand(labFaultCommands(&dir)...)
	for _, verb := range lab.InnerVerbs() {
		cmd.AddCommand(labInnerCommand(verb))
	}
	cmd.AddCommand(fenceCostsCommand())
	return cmd
}

// labDir is where a lab of this user is when nothing else is said.
func labDir() string {
	return filepath.Join(os.TempDir(), "nightporter-lab-of-"+strconv.Itoa(os.Getuid()))
}

// labInnerCommand is a verb that the lab calls itself.
func labInnerCommand(verb string) *cobra.Command {
	return &cobra.Command{
		Use: verb, Short: "Called by the lab itself", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return lab.Inner(cmd.Context(), append([]string{verb}, args...), log)
		},
	}
}

func labUpCommand(dir *string) *cobra.Command {
	o := lab.Options{Detached: true}
	var sleepers []int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build a lab and leave it running",
		Args:  takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Dir = *dir; cmd.Flags().Changed("target") {
				o.Sleepers = sleepers
			}
			if err := o.Check(); err != nil {
				return usageError{err}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), labPatience)
			defer cancel()
			l, err := lab.Up(ctx, o)
			if err != nil {
				return err
			}
			st, err := l.Status(ctx)
			if err != nil {
				return err
			}
			return showLab(cmd, st)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Hosts, "hosts", 4, "how many hosts (1 to 32)")
	f.IntVar(&o.Clients, "clients", 1, "how many clients (1 to 8)")
	f.IntSliceVar(&sleepers, "target", nil, "numbers of the hosts that run the service and may sleep (default the last)")
	f.DurationVar(&o.Idle, "idle", 0, "the targets go to sleep by themselves when nobody has used them for so long; 0 = they do not")
	f.IntSliceVar(&o.Witnesses, "witness", nil, "numbers of the hosts that vote and never hold a service")
	f.DurationVar(&o.LookAfter, "look-after", 0, "after so long (whole seconds) a sleeping host's alarm has it look after the others; 0 = it has none")
	f.DurationVar(&o.Failover, "failover", time.Second, "the cluster's failover setting")
	f.DurationVar(&o.ResumeTime, "resume-time", time.Second, "what a sleeping host needs from the magic packet until it runs again")
	f.StringVar(&o.LogLevel, "log-level", "info", "of the agents: debug, info, warn, error")
	f.StringVar(&o.Switch, "switch", lab.SwitchBridge, "what joins the hosts: bridge (the kernel's), or user, which can delay, double and reorder")
	f.BoolVar(&o.NoAgent, "no-agent", false, "hosts without the agent, to start it by hand")
	f.BoolVar(&o.Keep, "keep", false, "leave the directory with the logs where it is at the end")
	return cmd
}

func labDownCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the lab and remove everything of it",
		Args:  takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), labPatience)
			defer cancel()
			return lab.Down(ctx, *dir)
		},
	}
}

func labExecCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "exec HOST -- PROGRAM [ARGUMENT...]",
		Short: "Run a program in a host, in a client or in the switch",
		Long: `Run a program in a host (h1, ...), in a client (c1, ...) or in the switch ("switch", whose ports have the
names of the hosts). It ends with the program's own exit status.`,
		Example: `  nightporter lab exec h1 -- nightporter status`,
		Args:    takes(2, math.MaxInt, "name a HOST and, after --, a PROGRAM to run in it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Attach(cmd.Context(), *dir)
			if err != nil {
				return err
			}
			code, err := l.Host(args[0]).Exec(cmd.Context(), lab.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, args[1:]...)
			if err == nil && code != 0 {
				os.Exit(code) // nothing is open any more, and there is nothing to say that the program did not say
			}
			return err
		},
	}
}

// labConnectCommand is a client to try the lab's servers with: it works on every machine, not only in a lab.
func labConnectCommand() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "connect ADDRESS:PORT",
		Short: "Connect once, say how long it took and which host answered",
		Long: `Call connect(2) once, as any client does, and wait for what the kernel makes of it; then ask the server for
its name once. Run it in the client: nightporter lab exec c1 -- nightporter lab connect 10.77.0.200:8080`,
		Example: `  nightporter lab exec c1 -- nightporter lab connect 10.77.0.200:8080`,
		Args:    takes(1, 1, "name one ADDRESS:PORT, like 10.77.0.200:8080"),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := addrPort(args[0])
			if err != nil {
				return usageError{err}
			}
			if limit <= 0 {
				return usageError{fmt.Errorf("--limit is %s; write a time above zero, like 30s", limit)}
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), limit, fmt.Errorf("no success within %v", limit))
			defer cancel()
			r, err := lab.Visit(ctx, to, plainDial(to))
			if err != nil {
				return err
			}
			return showReply(cmd, to, r)
		},
	}
	cmd.Flags().DurationVar(&limit, "limit", 2*time.Minute, "when to give up")
	return cmd
}

// withLab runs f on the lab in dir within the usual time.
func withLab(cmd *cobra.Command, dir string, f func(context.Context, *lab.Lab) error) error {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), labPatience, errors.New("the lab did not answer in time"))
	defer cancel()
	l, err := lab.Attach(ctx, dir)
	if err != nil {
		return err
	}
	return f(ctx, l)
}

package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/api"
	"nightporter/config"
	"nightporter/doctor"
)

// doctorFlags say what is to be examined.
type doctorFlags struct {
	path, node, iface string
	peers, wake, test bool
}

func doctorVerb(sh *shell) *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps this host, or all of them, from working",
		Long: `Look at this host: configuration, rights, kernel, interface, Wake-on-LAN, ARP settings, strangers that have a
service's address, other programs that manage addresses, the ports of the other hosts, clock, sleep states and
versions. Each finding says what is so, why it matters and what mends it; docs/doctor.md has all of them.

It works before the installation (without a configuration file, with --interface), after it, and while services
run, which it does not disturb. What an ordinary user cannot look at is said, so run it as root.

With --peers the agent of this host has all nodes examined and compares what they see: ports that are open one way
only, services that are held and not heard (port security), clocks, versions, configurations. Nodes that sleep are
left asleep unless --wake is given. With --test-mac each host that holds no service with a MAC of its own sends some frames
from a MAC that nobody else has, and the others tell whether they arrive: so it shows before a take-over that a switch's
port allows one MAC only. A port with port security may count that as an offence, and shut itself down.

Exit codes: 0 nothing fails (there may be warnings); 1 something does; 2 the command line makes no sense;
with --peers also 3 the agent of this host cannot be reached, and 4 it is in no cluster yet.`,
		Example: `  nightporter doctor
  nightporter doctor --interface eth0 --config ./nightporter.yaml --node delta
  nightporter doctor --peers
  nightporter doctor --peers --test-mac
  nightporter doctor --peers -o json | jq -r '.together[] | select(.level == "fail") | .what'`,
		Args: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"interface", "config", "node"} {
				if f.peers && cmd.Flags().Changed(name) {
					return errors.New("--" + name + " is about this host alone; leave it out, or --peers")
				}
			}
			if f.wake && !f.peers {
				return errors.New("--wake wakes the other nodes, so it goes with --peers")
			}
			if f.test && !f.peers {
				return errors.New("--test-mac needs others who listen, so it goes with --peers")
			}
			return takesNone(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := sh.examine(cmd, f)
			if err != nil {
				return err
			}
			if err := sh.show(r, func(p *page) { drawDoctor(p, r) }); err != nil {
				return err
			}
			if n := r.Count(api.Fail); n > 0 {
				return errors.New("doctor found " + count(n, "failure"))
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.path, "config", config.DefaultPath, "the configuration file; without one only the machine is looked at")
	flags.StringVar(&f.node, "node", "", "the host's name in the configuration (default: this host's name)")
	flags.StringVar(&f.iface, "interface", "", "the LAN interface (default: the configuration's, else that of the default route)")
	flags.BoolVar(&f.peers, "peers", false, "have all nodes examined, and compare what they see")
	flags.BoolVar(&f.wake, "wake", false, "with --peers: wake the nodes that sleep")
	flags.BoolVar(&f.test, "test-mac", false, "with --peers: hosts that hold no service send test frames from a second MAC; a switch with port security may shut their port")
	return cmd
}

// statusPatience is how long the agent may take to say how it is: it may be what is wrong.
const statusPatience = 2 * time.Second

func (sh *shell) examine(cmd *cobra.Command, f doctorFlags) (r api.DoctorReport, err error) {
	if f.peers {
		err = sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
			r, err = c.Doctor(ctx, api.DoctorQuery{Peers: true, Wake: f.wake, Test: f.test})
			return err
		})
		return r, err
	}
	h := doctor.Host{Version: sh.version, Path: f.path, Node: f.node, Interface: f.iface, Sleeps: agent.CannotSleep, Trial: true}
	h.Config, h.Problem = sh.tryConfig(f)
	socket := sh.socket
	if h.Config != nil && !cmd.Flags().Changed("socket") && sh.getenv("NIGHTPORTER_SOCKET") == "" {
		socket = h.Config.Socket
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), min(statusPatience, sh.timeout))
	defer cancel()
	if st, err := api.NewClient(socket).Status(ctx); err == nil {
		h.Status = &st
	} else {
		h.StatusErr = err
	}
	return api.DoctorReport{Nodes: []api.DoctorNode{doctor.Examine(cmd.Context(), h)}, Together: []api.Finding{}}, nil
}

// tryConfig reads the configuration; that there is none is no failure.
func (sh *shell) tryConfig(f doctorFlags) (*config.Config, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	file.Close() // read only: nothing to lose
	return sh.readConfig(f.path, f.node, false)
}

func drawDoctor(p *page, r api.DoctorReport) {
	for i, n := range r.Nodes {
		if i > 0 {
			p.line("")
		}
		switch {
		case n.State != doctor.StateExamined:
			p.line("%s: not examined (%s): %s", n.Node, n.State, n.Detail)
			continue
		case n.Via != "":
			p.line("%s, asked by way of %s: %s", n.Node, n.Via, tally(n.Findings))
		default:
			p.line("%s: %s", n.Node, tally(n.Findings))
		}
		drawFindings(p, n.Findings)
	}
	if len(r.Together) > 0 {
		p.line("")
		p.line("all together: %s", tally(r.Together))
		drawFindings(p, r.Together)
	}
}

func drawFindings(p *page, all []api.Finding) {
	for _, f := range all {
		level := string(f.Level)
		if f.Level == api.Fail {
			level = strings.ToUpper(level)
		}
		if f.Level == api.Fine {
			p.line("  %-4s  %s: %s", level, f.Area, f.What)
			continue
		}
		p.line("  %-4s  %s: %s", level, f.Name, f.What)
		if f.Why != "" && f.Level != api.Note {
			p.line("        why: %s", f.Why)
		}
		if f.Fix != "" {
			p.line("        fix: %s", f.Fix)
		}
	}
}

// tally counts the findings of each level.
func tally(all []api.Finding) string {
	n := make(map[api.Level]int)
	for _, f := range all {
		n[f.Level]++
	}
	var words []string
	for _, l := range []struct {
		level api.Level
		word  string
	}{{api.Fail, "failure"}, {api.Warn, "warning"}, {api.Note, "note"}} {
		if n[l.level] > 0 {
			words = append(words, count(n[l.level], l.word))
		}
	}
	if len(words) == 0 {
		return "nothing is wrong"
	}
	return strings.Join(words, ", ")
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/config"
)

// recovery is one run of `nightporter recover`.
type recovery struct {
	sh                          *shell
	path, node, dataDir, runDir string
	gone, reinstalled           []string
	listen                      time.Duration
	look, yes, deaf             bool
	answers                     *bufio.Scanner
	report                      agent.WreckReport
	listenFor                   time.Duration
}

func recoverVerb(sh *shell) *cobra.Command {
	r := &recovery{sh: sh}
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Go on with this host alone after the majority was lost for good",
		Long: `Make this host a cluster of its own again, out of what its disk has, after so many hosts were lost for good
that the rest are no majority and nothing can be decided any more. It runs on a host that is left, as root,
with its agent stopped, and walks through it: it tells what this host knows, what is assumed, asks which hosts
are gone, calls all of them (magic packets, gossip, their peer ports) and listens for a while, and refuses if any
of them answers, or if nothing at all is heard on the LAN. Then it exchanges the state for one of a new cluster: this host is its only member, no service
has an owner, and every epoch is lifted above all that the lost hosts may have used. The old state is kept.

A lost host that comes back with its old state finds out and falls silent; "nightporter leave" there, and it
joins as a new member. Where several hosts are left, stop all their agents, run "nightporter recover --look" on each,
and recover on the one with the highest term, then the highest index; the others join it as new members.

With --yes nothing is asked: every other member must be named by --gone.`,
		Example: `  nightporter recover
  nightporter recover --look
  nightporter recover --yes --gone bravo,charlie`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&r.path, "config", config.DefaultPath, "the configuration file")
	flags.StringVar(&r.node, "node", "", "the name of this host (default: its host name)")
	flags.StringVar(&r.dataDir, "data-dir", "", "where state is kept, instead of the file's data_dir")
	flags.StringVar(&r.runDir, "run-dir", "", "where the lock is kept, instead of the file's run_dir")
	flags.StringSliceVar(&r.gone, "gone", nil, "the hosts that are gone for good: all other members")
	flags.StringSliceVar(&r.reinstalled, "reinstalled", nil, "of these, hosts whose machine answers but was installed anew, without the old state")
	flags.DurationVar(&r.listen, "listen", 0, "how long to listen for the others (default: until every lease that they may have has run out)")
	flags.BoolVar(&r.deaf, "deaf", false, "it is known that nobody else is on this LAN: go on although nothing at all was heard there")
	flags.BoolVar(&r.look, "look", false, "only tell what this host knows")
	flags.BoolVar(&r.yes, "yes", false, "ask nothing")
	return cmd
}

func (r *recovery) run(ctx context.Context) (err error) {
	if r.sh.output == "json" && !r.yes && !r.look {
		return usageError{errors.New("with -o json nothing can be asked: give --look, or --yes and --gone")}
	}
	cfg, err := r.sh.loadConfig(r.path, r.node, false)
	if err != nil {
		return err
	}
	cfg.Place(r.dataDir, r.runDir)
	log, err := r.sh.logger("error")
	if err != nil {
		return err
	}
	w, err := agent.OpenWreck(cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	r.report, r.answers = w.Report(), bufio.NewScanner(r.sh.in)
	if r.look {
		return r.sh.show(r.report, func(p *page) { drawWreck(p, r.report) })
	}
	if err := r.agree(); err != nil {
		return err
	}
	if err := r.hark(ctx, w); err != nil {
		return err
	}
	if err := r.confirm(); err != nil {
		return err
	}
	done, err := w.Recover(time.Now().UTC())
	if err != nil {
		return err
	}
	return r.sh.show(done, func(p *page) { drawRecovered(p, done) })
}

// say prints a line for a person; scripts get the result alone.
func (r *recovery) say(format string, args ...any) {
	if r.sh.output != "json" {
		fmt.Fprintln(r.sh.out, plainLines(fmt.Sprintf(format, args...)))
	}
}

// ask puts a question and gives the answer.
func (r *recovery) ask(question string) (string, error) {
	fmt.Fprint(r.sh.out, plainLines(question)+" ")
	if !r.answers.Scan() {
		return "", errors.Join(errors.New("there was no answer: nothing was changed"), r.answers.Err())
	}
	return strings.TrimSpace(r.answers.Text()), nil
}

// agree tells what is known and assumed, and finds out which hosts are gone.
func (r *recovery) agree() error {
	rep := r.report
	if rep.Majority {
		return fmt.Errorf("%s has the only vote of the cluster: nothing is lost; start its agent, and use `nightporter forget` for hosts that are gone", rep.Node)
	}
	if r.listenFor = r.listen; r.listen == 0 {
		r.listenFor = rep.Listen
	}
	if r.listenFor < rep.Least {
		return usageError{fmt.Errorf("--listen is %s: leases that were granted before may run for %s; give at least that", r.listenFor, rep.Least)}
	}
	if r.sh.output != "json" {
		if err := r.sh.show(nil, func(p *page) {
			drawWreck(p, rep)
			drawAssumptions(p)
		}); err != nil {
			return err
		}
	}
	if len(r.gone) == 0 && !r.yes {
		names, err := r.ask("Which hosts are gone for good? Name all of them:")
		if err != nil {
			return err
		}
		r.gone = strings.FieldsFunc(names, func(c rune) bool { return c == ' ' || c == ',' })
	}
	return goneAll(rep, r.gone, r.reinstalled)
}

// goneAll wants every other member to be named, and nobody else.
func goneAll(rep agent.WreckReport, gone, reinstalled []string) error {
	others := make(map[string]bool)
	for _, n := range rep.Others {
		others[n.Name] = true
	}
	for _, name := range gone {
		if name == rep.Node {
			return usageError{fmt.Errorf("%s is this host: run the command on one that is left", name)}
		}
		if !others[name] {
			return usageError{fmt.Errorf("%s is no member: the others are %s", name, words(slices.Sorted(maps.Keys(others))))}
		}
	}
	for _, name := range reinstalled {
		if !slices.Contains(gone, name) {
			return usageError{fmt.Errorf("%s is named by --reinstalled and not by --gone: its old state must be gone for good", name)}
		}
	}
	var left []string
	for _, n := range rep.Others {
		if !slices.Contains(gone, n.Name) {
			left = append(left, n.Name)
		}
	}
	if len(left) > 0 {
		return usageError{fmt.Errorf("not all other members are gone: %s left. Start or wake them, that may be a majority again; if it is not, stop their agents, name them as well, "+
			"and let them join this host as new members afterwards (docs/recovery.md)", words(left))}
	}
	return nil
}

// hark calls all others and listens.
func (r *recovery) hark(ctx context.Context, w *agent.Wreck) error {
	r.say("Calling %s and listening for %s.", words(r.gone), r.listenFor)
	heard, err := w.Listen(ctx, r.listenFor, r.deaf)
	if err != nil {
		return err
	}
	if err := answered(heard.Signs, r.reinstalled); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, n := range heard.Notes {
		if r.sh.output == "json" {
			fmt.Fprintln(r.sh.err, plainLines("note: "+n))
		}
		r.say("note: %s", n)
	}
	r.say("Nobody answered.")
	return nil
}

// answered refuses where somebody is there, and says what to do about each.
func answered(signs []agent.Sign, reinstalled []string) error {
	var there []string
	usual := ""
	for _, s := range signs {
		if !s.Agent && slices.Contains(reinstalled, s.Node) {
			continue
		}
		text := fmt.Sprintf("%s at %s: %s", s.Node, s.Where, s.What)
		if s.Do != "" {
			text += " (" + s.Do + ")"
		} else {
			usual = ". Start the agents there, that may be a majority again; or switch the machines off; one that was installed anew is named by --reinstalled"
		}
		there = append(there, text)
	}
	if len(there) > 0 {
		return fmt.Errorf("somebody answers, so nothing was changed: %s%s", strings.Join(there, "; "), usual)
	}
	return nil
}

// confirm asks for the last word.
func (r *recovery) confirm() error {
	if r.yes {
		return nil
	}
	word, err := r.ask(fmt.Sprintf("Type the name of the cluster (%s) to go on without %s:", r.report.Cluster, words(r.gone)))
	if err != nil {
		return err
	}
	if word != r.report.Cluster {
		return fmt.Errorf("%q is not %s: nothing was changed", word, r.report.Cluster)
	}
	return nil
}

func drawWreck(p *page, rep agent.WreckReport) {
	p.line("%s has the state of cluster %s (%s) up to entry %d of term %d.", rep.Node, rep.Cluster, rep.ID, rep.Index, rep.Term)
	p.line("Its voters are %s; %d of them are needed.", words(rep.Voters), len(rep.Voters)/2+1)
	var rows [][]string
	for _, n := range rep.Others {
		vote := ""
		if n.Voter {
			vote = "voter"
		}
		rows = append(rows, []string{n.Name, n.Addr.String(), n.Power, moment(n.Since), vote})
	}
	p.table([]string{"OTHER", "ADDRESS", "POWER", "SINCE", "PART"}, rows)
	rows = nil
	for _, s := range rep.Services {
		rows = append(rows, []string{s.Name, s.Owner, number(s.Epoch)})
	}
	p.table([]string{"SERVICE", "OWNER", "EPOCH"}, rows)
}

func drawAssumptions(p *page) {
	p.line("")
	p.line("Going on with this host alone assumes, and nobody but you can know it:")
	p.line("- Every other host is gone for good: switched off, broken, or installed anew. A cable or a switch that")
	p.line("  cuts this host off from hosts that are well looks the same from here. Go and look at the machines.")
	p.line("- None of them serves meanwhile. Two halves that both go on are two holders of one address.")
	p.line("- What they decided without this host is lost: later changes of services and settings. What was on its way to")
	p.line("  this host and never confirmed may be there.")
	p.line("")
}

func drawRecovered(p *page, d agent.Recovered) {
	p.line("%s is a cluster of its own now (%s), without %s. The state of before is in %s.", d.Node, d.ID, words(d.Lost), d.Backup)
	p.line("Next:")
	p.line("  systemctl start nightporter     it holds what it can hold again")
	p.line("  nightporter status")
	p.line("A lost host that comes back with its old state falls silent and says so; `nightporter leave` there, and it joins as a new member.")
	p.line("With two hosts or more again, think of a witness: any tiny machine that is always on makes this automatic.")
	if d.Drained {
		p.line("note: %s is in maintenance and holds nothing until `nightporter undrain %s`", d.Node, d.Node)
	}
}

// words joins names for a sentence.
func words(names []string) string { return strings.Join(names, ", ") }

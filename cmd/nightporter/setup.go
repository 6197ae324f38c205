package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/config"
	"nightporter/setup"
)

// setupFlags are what the command line says; what it leaves open is asked for.
type setupFlags struct {
	path, cluster, node, iface, address, sleeps, secret string
	hosts, services                                     []string
	yes, force, join, invite                            bool
}

func setupVerb(sh *shell) *cobra.Command {
	var f setupFlags
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Set this host up: ask five questions, write the configuration and the secret",
		Long: `Set this host up. On the first host of a cluster five questions are asked: its name, its interface, the other
hosts, the first service, and whether it may sleep. The configuration is tested as "config check" does, and only
then written; a secret is made where there is none. Flags answer questions beforehand; with --yes nothing
is asked, and what no flag says is as it would be offered. Ctrl-C leaves everything as it was.

On every other host "setup --join" takes an invitation, which "setup --invite" prints on a host that is set up: one
line that holds the configuration and the secret. It is read from the terminal, where it is not shown, or from
standard input, never from the command line, which others on the host can see. Whoever has it can become a member
of the cluster: treat it like the secret, and keep no copy. A host that the configuration does not name yet is added
to it. Names of hosts are those by which the agents know themselves: the part of the host name before its first dot.`,
		Example: `  nightporter setup
  nightporter setup --invite | ssh root@bravo nightporter setup --join
  nightporter setup --yes --host bravo=192.0.2.12 --service "nas 192.0.2.200 445/tcp on bravo"
  nightporter setup --yes --sleeps 15m --interface br0`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := &setupRun{shell: sh, flags: f, talk: newTalk(sh)}
			defer s.talk.close()
			switch {
			case f.join && f.invite:
				return usageError{errors.New("--join and --invite are for two hosts: --invite prints what --join reads")}
			case f.invite:
				return s.printInvitation()
			case f.join:
				return s.join(cmd.Context())
			}
			return s.first(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.join, "join", false, "take the invitation of another host, from standard input")
	flags.BoolVar(&f.invite, "invite", false, "print an invitation for another host; it holds the secret")
	flags.BoolVarP(&f.yes, "yes", "y", false, "ask nothing")
	flags.BoolVar(&f.force, "force", false, "replace the configuration that is there; the old one is kept with .bak at its end")
	flags.StringVar(&f.path, "config", config.DefaultPath, "the configuration file; the secret is put beside it")
	flags.StringVar(&f.cluster, "cluster", "home", "the cluster's name")
	flags.StringVar(&f.node, "node", "", "the name of this host (default: its host name)")
	flags.StringVar(&f.iface, "interface", "", "the LAN interface (default: that of the default route)")
	flags.StringVar(&f.address, "address", "", "the address of this host on it (default: its first IPv4 address)")
	flags.StringArrayVar(&f.hosts, "host", nil, "another host, `NAME=ADDRESS`; once for each")
	flags.StringArrayVar(&f.services, "service", nil, "a service, `\"NAME ADDRESS PORT... [on HOST]\"`; once for each")
	flags.StringVar(&f.sleeps, "sleeps", "no", "whether this host may sleep: no, yes, or a time like 15m after which it does so by itself")
	flags.StringVar(&f.secret, "secret", "", "a file with the secret to take, instead of a new one")
	return cmd
}

// setupRun is one run of the verb.
type setupRun struct {
	*shell
	flags setupFlags
	talk  *talk
}

// settled is the answer of `setup`.
type settled struct {
	Config string   `json:"config"`
	Secret string   `json:"secret_file"`
	How    string   `json:"secret"` // made, taken, kept
	Node   string   `json:"node"`
	Kept   []string `json:"kept"`  // old files
	Notes  []string `json:"notes"` // what deserves a second look
	Next   []string `json:"next"`  // what to do now
}

// first sets the first host up.
func (s *setupRun) first(ctx context.Context) error {
	if err := setup.Taken(s.flags.path, s.flags.force); err != nil {
		return err
	}
	if err := setup.Writable(s.flags.path); err != nil {
		return err
	}
	if !s.flags.yes && !s.talk.terminal {
		return usageError{errors.New("setup asks its questions at a terminal, and this is none; give --yes, with flags for what is to differ from what is offered: see `nightporter setup --help`")}
	}
	secret, err := s.givenSecret()
	if err != nil {
		return err
	}
	a, err := s.flags.answers()
	if err != nil {
		return usageError{err}
	}
	if !s.flags.yes {
		if err := s.questions(ctx, &a); err != nil {
			return err
		}
	}
	if err := agreeable(&a, s.thisMachine()); err != nil {
		return usageError{err}
	}
	w, err := setup.Plan{Path: s.flags.path, Text: a.Text(), Node: a.Node, Secret: secret, Force: s.flags.force}.Write(s.thisMachine())
	if err != nil {
		return s.refused(err, a.Text())
	}
	next := onThisHost()
	for _, h := range a.Others {
		next = append(next, fmt.Sprintf("for %s, from here, once nightporter is installed there: nightporter setup --invite | ssh root@%s nightporter setup --join", h.Name, h.Addr))
	}
	if len(a.Others) == 0 {
		next = append(next, "for every further host, from here: nightporter setup --invite | ssh root@THAT-HOST nightporter setup --join")
	} else {
		next = append(next, fmt.Sprintf("the cluster is founded when all %d hosts have met; nightporter status tells", len(a.Others)+1))
	}
	return s.done(w, a.Node, next, nil)
}

// agreeable judges what `config check` does not know, of answers that flags gave as well.
func agreeable(a *setup.Answers, m *config.Machine) (err error) {
	if a.Node, err = setup.ReadNode(a.Node); err != nil {
		return fmt.Errorf("%w, with --node", err)
	}
	if bad := a.Elsewhere(m); len(bad) > 0 {
		return fmt.Errorf("--host: %s", strings.Join(bad, "; "))
	}
	return nil
}

// answers are what the flags say, and for the rest what would be offered.
func (f setupFlags) answers() (setup.Answers, error) {
	a := setup.Answers{Cluster: f.cluster, SecretFile: secretBeside(f.path), Node: f.node, Interface: f.iface}
	var err error
	if a.Node == "" {
		if a.Node, err = config.HostNode(); err != nil {
			return a, err
		}
	}
	if err := pickLink(&a, setup.Links()); err != nil {
		return a, err
	}
	if f.address != "" {
		if err := a.SetAddr(f.address); err != nil {
			return a, fmt.Errorf("--address: %w", err)
		}
	}
	if a.Others, err = setup.ReadHosts(strings.Join(f.hosts, " ")); err != nil {
		return a, fmt.Errorf("--host: %w", err)
	}
	for _, text := range f.services {
		one, err := setup.ReadService(text, a.Node)
		if err != nil {
			return a, fmt.Errorf("--service: %w", err)
		}
		a.Services = append(a.Services, one...)
	}
	if a.Sleep, err = setup.ReadSleep(f.sleeps); err != nil {
		return a, fmt.Errorf("--sleeps: %w", err)
	}
	return a, nil
}

// pickLink completes interface and address by what this host has.
func pickLink(a *setup.Answers, links []setup.Link) error {
	if len(links) == 0 && a.Interface == "" {
		return errors.New("this host has no interface with an address: bring its network up first, or name one with --interface and --address")
	}
	at := 0
	if a.Interface != "" {
		at = slices.IndexFunc(links, func(l setup.Link) bool { return l.Name == a.Interface })
	}
	if at >= 0 && at < len(links) {
		a.Interface, a.Addr = links[at].Name, links[at].Addr()
	}
	return nil
}

// secretBeside is where the secret of a configuration goes.
func secretBeside(path string) string {
	if path == config.DefaultPath {
		return config.DefaultSecretFile
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return filepath.Join(filepath.Dir(path), filepath.Base(config.DefaultSecretFile))
}

// givenSecret reads the file that --secret names.
func (s *setupRun) givenSecret() ([]byte, error) {
	if s.flags.secret == "" {
		return nil, nil
	}
	if _, err := config.ReadSecrets(s.flags.secret); err != nil {
		return nil, err
	}
	body, err := os.ReadFile(s.flags.secret)
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	return body, nil
}

// printInvitation is `setup --invite`.
func (s *setupRun) printInvitation() error {
	text, err := os.ReadFile(s.flags.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("only a host that is set up invites, and here is no %s: run `nightporter setup` first, or this on a host of the cluster", s.flags.path)
	}
	if err != nil {
		return fmt.Errorf("only a host that is set up invites: %w", err)
	}
	cfg, err := s.readConfig(s.flags.path, s.flags.node, true)
	if err != nil {
		return err
	}
	if _, err := config.ReadSecrets(cfg.SecretFile); err != nil {
		return err
	}
	secret, err := os.ReadFile(cfg.SecretFile)
	if err != nil {
		return fmt.Errorf("read the secret: %w", err)
	}
	line := setup.Invitation{Config: string(text), Secret: string(secret)}.String()
	if isTerminal(s.out) {
		fmt.Fprintln(s.err, "This line holds the secret of the cluster: paste it into `nightporter setup --join` on the other host, and keep no copy.")
	}
	return s.show(map[string]string{"invitation": line}, func(p *page) { p.line("%s", line) })
}

// join is `setup --join`.
func (s *setupRun) join(ctx context.Context) error {
	if err := setup.Taken(s.flags.path, s.flags.force); err != nil {
		return err
	}
	if err := setup.Writable(s.flags.path); err != nil {
		return err
	}
	line, err := s.talk.secretly(ctx, "The invitation, as `nightporter setup --invite` prints it on a host of the cluster (it is not shown): ")
	if err != nil {
		return err
	}
	inv, err := setup.ReadInvitation(line)
	if err != nil {
		return err
	}
	node := s.flags.node
	if node == "" {
		if node, err = config.HostNode(); err != nil {
			return err
		}
	}
	if node, err = setup.ReadNode(node); err != nil {
		return fmt.Errorf("%w, with --node", err)
	}
	j, err := setup.Join(inv.Config, node, setup.Links())
	if err != nil {
		return err
	}
	w, err := setup.Plan{Path: s.flags.path, Text: j.Text, Node: node, Secret: []byte(inv.Secret), Force: s.flags.force}.Write(s.thisMachine())
	if err != nil {
		return s.refused(err, j.Text)
	}
	next := append(onThisHost(), "then: nightporter status")
	var notes []string
	if j.Line != "" {
		notes = append(notes, fmt.Sprintf("this line was not in the invitation and is in the file here; write it under nodes in those of the other hosts as well, then `systemctl reload nightporter` there: %s", strings.TrimSpace(j.Line)))
	}
	return s.done(w, node, next, notes)
}

// onThisHost is what comes next on every host.
func onThisHost() []string {
	return []string{"on this host: nightporter doctor, which tells what would keep it from working", "then, where it does not run yet: systemctl enable --now nightporter"}
}

// done tells what was written and what comes next.
func (s *setupRun) done(w setup.Written, node string, next, notes []string) error {
	if own, err := config.HostNode(); err != nil || own != node {
		notes = append(notes, fmt.Sprintf("the agent looks for itself by this host's name, which is not %s: change it with `hostnamectl set-hostname %s`", node, node))
	}
	for _, l := range setup.Links() {
		if l.Name == w.Config.Interface && l.WiFi {
			notes = append(notes, l.Name+" is Wi-Fi, where a service has no hardware address of its own: services here need `mode: address`, and few Wi-Fi cards can be woken; a cable does without both")
		}
	}
	r := settled{
		Config: s.flags.path, Secret: w.Config.SecretFile, How: w.Secret, Node: node, Next: next,
		Kept: append([]string{}, w.Kept...), Notes: append(append([]string{}, w.Config.Notes...), notes...),
	}
	return s.show(r, func(p *page) {
		p.line("wrote %s for %s", r.Config, node)
		p.line("%s", map[string]string{"made": "made a new secret, ", "taken": "took the secret over into ", "kept": "left the secret as it was, "}[r.How]+r.Secret)
		for _, k := range r.Kept {
			p.line("kept what was there as %s", k)
		}
		for _, n := range r.Notes {
			p.line("note: %s", n)
		}
		p.line("Next:")
		for _, n := range r.Next {
			p.line("  %s", n)
		}
	})
}

// refused shows the file that was not written, so that the places in the sentences can be looked at.
func (s *setupRun) refused(err error, text string) error {
	if _, is := errors.AsType[*config.Problems](err); is && s.output != "json" {
		fmt.Fprintln(s.err, "Nothing was written. The file would have been:")
		_, _ = io.WriteString(s.err, plainLines(text)+"\n") // nobody is left to be told that standard error is closed
	}
	return err
}

// thisMachine is what the configuration is compared with; a host that cannot sleep is found out here already.
func (s *setupRun) thisMachine() *config.Machine {
	if s.machine == nil {
		return nil
	}
	m := *s.machine
	if m.Sleeps == nil {
		m.Sleeps = agent.CannotSleep
	}
	return &m
}

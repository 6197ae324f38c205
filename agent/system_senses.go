package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"nightporter/config"
	"nightporter/fsm"
	"nightporter/health"
	"nightporter/idle"
	"nightporter/login"
)

// systemSenses looks at this host: its kernel, its logind, its systemd, its own commands.
type systemSenses struct {
	rules   config.StayAwake
	dir     string // of the hooks
	link    string
	systemd health.Systemd
	logind  login.Logind
	sources []source

	sockets *idle.Sockets // nil: not opened yet
	window  time.Duration
	flows   *idle.FlowTable
	traffic idle.Traffic
}

// source is one thing that is looked at.
type source struct {
	name  string // for the sentence when it fails
	limit time.Duration
	look  func(context.Context) ([]idle.Reason, string, error) // the string is a note
}

// senseLimit is for what answers at once or not at all.
const senseLimit = 5 * time.Second

// flowWindow is the time over which the bytes of a connection are added up; less where idle is hardly longer.
const flowWindow = time.Minute

func newSystemSenses(cfg *config.Config) *systemSenses {
	s := &systemSenses{rules: cfg.StayAwake, dir: cfg.ChecksDir, link: cfg.Interface, window: min(flowWindow, cfg.Idle/3)}
	s.Forget()
	add := func(name string, limit time.Duration, look func(context.Context) ([]idle.Reason, string, error)) {
		s.sources = append(s.sources, source{name, limit, look})
	}
	if s.rules.Users != config.UsersOff {
		add("who is logged in", senseLimit, s.users)
	}
	if s.rules.Inhibitors {
		add("which programs block a sleep", senseLimit, s.inhibitors)
	}
	if len(s.rules.Processes) > 0 {
		add("which programs run", senseLimit, s.processes)
	}
	for _, u := range s.rules.Units {
		add("whether "+u+" is active", senseLimit, func(ctx context.Context) ([]idle.Reason, string, error) { return s.unit(ctx, u) })
	}
	for _, b := range s.rules.Commands {
		add("what `"+strings.Join(b.Command, " ")+"` says", b.Timeout, func(ctx context.Context) ([]idle.Reason, string, error) {
			return busy(idle.Command, "`"+strings.Join(b.Command, " ")+"`", health.Command(ctx, b.Command, nil))
		})
	}
	for _, h := range s.rules.Hooks {
		add("what the hook "+h+" says", senseLimit, func(ctx context.Context) ([]idle.Reason, string, error) {
			return busy(idle.Hook, "the hook "+h, health.Exec(ctx, s.dir, h, nil))
		})
	}
	return s
}

// Forget implements Senses.
func (s *systemSenses) Forget() {
	s.flows = idle.NewFlowTable(idle.FlowRules{Least: s.rules.Traffic, Window: s.window})
	s.traffic = idle.Traffic{Link: s.link, Least: s.rules.Network}
}

// Close implements Senses.
func (s *systemSenses) Close() error {
	err := s.logind.Close()
	if s.sockets != nil {
		err = errors.Join(err, s.sockets.Close())
	}
	return err
}

// Sense implements Senses. What may take its time is asked side by side.
func (s *systemSenses) Sense(ctx context.Context, now time.Duration, services []Watched) ([]idle.Reason, []string) {
	type found struct {
		reasons []idle.Reason
		note    string
	}
	all := make([]found, len(s.sources))
	var asking sync.WaitGroup
	for i, one := range s.sources {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, one.limit)
			defer cancel()
			reasons, note, err := one.look(ctx)
			if err != nil {
				reasons = append(reasons, unknown(one.name, err))
			}
			all[i] = found{reasons, note}
		})
	}
	reasons, notes := s.measure(now, services)
	asking.Wait()
	for _, f := range all {
		reasons, notes = append(reasons, f.reasons...), say(notes, f.note)
	}
	return reasons, notes
}

// unknown is the reason that stands for what cannot be found out: a host that cannot tell stays awake.
func unknown(what string, err error) idle.Reason {
	return idle.Reason{Name: idle.Unknown, Kind: idle.Use, Subject: what, Sentence: "it cannot be found out " + what + ", which counts as use: " + err.Error()}
}

// measure looks at what the kernel counts.
func (s *systemSenses) measure(now time.Duration, services []Watched) (reasons []idle.Reason, notes []string) {
	flows, note, err := s.connections(services)
	if err != nil {
		reasons = append(reasons, unknown("which connections there are", err))
	} else {
		reasons = append(reasons, s.flows.Look(now, flows)...)
	}
	notes = say(notes, note)
	if s.rules.Load > 0 {
		load, err := idle.LoadAverage()
		if err != nil {
			reasons = append(reasons, unknown("what the load is", err))
		} else if r, ok := idle.LoadReason(load, s.rules.Load); ok {
			reasons = append(reasons, r)
		}
	}
	if s.rules.Network > 0 {
		bytes, err := idle.Carried(s.link)
		if err != nil {
			reasons = append(reasons, unknown("what "+s.link+" carries", err))
		} else if r, ok := s.traffic.Look(now, bytes); ok {
			reasons = append(reasons, r)
		}
	}
	return reasons, notes
}

// connections gives those of clients to the services and to the ports that count.
func (s *systemSenses) connections(services []Watched) (out []idle.Flow, note string, err error) {
	if s.sockets == nil {
		if s.sockets, err = idle.OpenSockets(); err != nil {
			return nil, "", err
		}
	}
	own, err := ownAddresses(services)
	if err != nil {
		return nil, "", err
	}
	conns, missed, err := s.sockets.Read()
	if err == nil && missed {
		err = errors.New("more connections have ended than the kernel could tell")
	}
	if err != nil {
		return nil, "", err
	}
	for _, c := range conns {
		if subject := s.counts("tcp", c.Local, c.Remote, own, services); subject != "" {
			out = append(out, idle.Flow{Key: c.Key(), Subject: subject, Client: c.Remote, Received: c.Received, Sent: c.Sent, Ended: c.Ended})
		}
	}
	tracks, counted, err := idle.Tracked()
	if err != nil {
		return nil, "", err
	}
	for _, t := range tracks {
		subject := s.counts(t.Protocol, t.Dest, t.Client, own, services)
		if subject == "" || t.Protocol == "tcp" && !t.Translated { // its socket is among those above
			continue
		}
		if !counted {
			note = "the kernel does not count the bytes of connections to containers and of datagrams, so they do not keep the host awake; sysctl net.netfilter.nf_conntrack_acct=1 changes that"
			continue
		}
		out = append(out, idle.Flow{Key: t.Key(), Subject: subject, Client: t.Client, Received: t.Received, Sent: t.Sent})
	}
	return out, note, nil
}

// counts says whose a connection is: a service's, or a port's that counts; "" = it is no use of this host. This host's own connections to
// itself are none: its checks, and what its programs say to each other.
func (s *systemSenses) counts(protocol string, local, client netip.AddrPort, own []netip.Addr, services []Watched) string {
	from := client.Addr()
	if from.IsLoopback() || slices.Contains(own, from) || slices.ContainsFunc(s.rules.IgnoreFrom, func(p netip.Prefix) bool { return p.Contains(from) }) {
		return ""
	}
	here := slices.Contains(own, local.Addr())
	for _, w := range services {
		guarded := func(p fsm.Port) bool { return string(p.Protocol) == protocol && p.Number == local.Port() }
		if slices.Contains(w.Addresses, local.Addr()) || here && slices.ContainsFunc(w.Ports, guarded) {
			return w.Service
		}
	}
	for _, p := range s.rules.Ports {
		if here && p.Protocol == protocol && p.Number == local.Port() {
			return "port " + p.String()
		}
	}
	return ""
}

// ownAddresses are this host's, with those of the services that it may have.
func ownAddresses(services []Watched) ([]netip.Addr, error) {
	have, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("reading this host's addresses: %w", err)
	}
	var out []netip.Addr
	for _, a := range have {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	for _, w := range services {
		out = append(out, w.Addresses...)
	}
	return out, nil
}

func (s *systemSenses) users(ctx context.Context) (out []idle.Reason, note string, err error) {
	var all []idle.Login
	sessions, err := s.logind.Sessions(ctx)
	for _, one := range sessions {
		all = append(all, idle.Login(one))
	}
	if errors.Is(err, login.ErrNoLogind) {
		all, err = idle.Logins(idle.Utmp)
		if s.rules.Users == config.UsersActive {
			note = "there is no systemd-logind here, which would tell who is active: whoever is logged in counts"
		}
	}
	for _, l := range all {
		if !s.present(l) {
			continue
		}
		out = append(out, idle.Reason{Name: idle.Users, Kind: idle.Use, Subject: l.User + " " + l.Where, Sentence: l.String()})
	}
	return out, note, err
}

// present says whether somebody who is logged in counts. A desktop stays logged in for weeks, and says when nobody is there; a shell does
// not, and whoever left one open may have left something running in it.
func (s *systemSenses) present(l idle.Login) bool {
	away := l.Idle && (l.Graphical || s.rules.Users == config.UsersActive)
	return !away && !slices.Contains(s.rules.IgnoreUser, l.User)
}

func (s *systemSenses) inhibitors(ctx context.Context) (out []idle.Reason, note string, err error) {
	all, err := s.logind.Inhibitions(ctx)
	if errors.Is(err, login.ErrNoLogind) {
		return nil, "there is no systemd-logind here: no program can block a sleep", nil
	}
	for _, i := range all {
		out = append(out, idle.Reason{Name: idle.Inhibitor, Kind: idle.Use, Subject: fmt.Sprint(i.Who, " ", i.Process), Sentence: i.String()})
	}
	return out, "", err
}

func (s *systemSenses) processes(context.Context) (out []idle.Reason, note string, err error) {
	names, err := idle.Running(s.rules.Processes)
	for _, n := range names {
		out = append(out, idle.Reason{Name: idle.Process, Kind: idle.Use, Subject: n, Sentence: n + " runs"})
	}
	return out, "", err
}

func (s *systemSenses) unit(ctx context.Context, name string) ([]idle.Reason, string, error) {
	state, err := s.systemd.State(ctx, name)
	switch {
	case err != nil:
		return nil, "", err
	case slices.Contains([]string{"active", "activating", "reloading", "deactivating"}, state):
		return []idle.Reason{{Name: idle.Unit, Kind: idle.Use, Subject: name, Sentence: name + " is " + state}}, "", nil
	}
	return nil, "", nil
}

// busy judges how a command ended: with status 0 the host is in use, with another it is not; one that could not say is not known.
func busy(name idle.Name, subject string, err error) ([]idle.Reason, string, error) {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return []idle.Reason{{Name: name, Kind: idle.Use, Subject: subject, Sentence: subject + " says that the host is in use"}}, "", nil
	case errors.As(err, &ended) && ended.Exited():
		return nil, "", nil
	}
	return nil, "", err
}

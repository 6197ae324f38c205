package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
)

// Apply defines services. All are checked before the first is changed.
func (b *backend) Apply(ctx context.Context, list []api.Service) (api.Applied, error) {
	const tried = "apply the services"
	done := api.Applied{Created: []string{}, Changed: []string{}, Unchanged: []string{}}
	state := b.machine.View().State
	var problems, late []string
	var wanted []fsm.Service
	for _, s := range list {
		sv := b.fromAPI(s)
		problems = append(append(problems, strayHolds(s)...), fsm.Validate(sv)...)
		wanted = append(wanted, sv)
		late = append(late, belated(state, fsm.PutService{Service: sv})...)
	}
	if len(late) > 0 { // before it is forwarded: a leader of an older version would leave out what it does not know
		late = slices.Compact(slices.Sorted(slices.Values(late)))
		return done, api.Refused("cannot "+tried+": "+strings.Join(late, ", ")+" would have to stop: the version there does not know all that they say", "nothing was changed; upgrade every host first")
	}
	if c, err := b.forward(ctx, tried); err != nil || c != nil {
		return forwarded(err, func() (api.Applied, error) { return c.Apply(ctx, list) })
	}
	if len(problems) > 0 {
		return done, api.Invalid(strings.Join(problems, "; "), "nothing was changed; correct the definitions and apply them again")
	}
	for _, sv := range wanted {
		old, known := state.Services[sv.Name]
		effect, err := b.put(ctx, tried, old, sv, known)
		switch {
		case err != nil:
			return done, err
		case effect == fsm.Created:
			done.Created = append(done.Created, sv.Name)
		case effect == fsm.Changed:
			done.Changed = append(done.Changed, sv.Name)
		default:
			done.Unchanged = append(done.Unchanged, sv.Name)
		}
	}
	b.leader.bell.ring()
	return done, nil
}

// belated gives the members that cannot read a command: they would halt at it.
func belated(state *fsm.State, c fsm.Command) (out []string) {
	for name, n := range state.Nodes {
		if max(n.Format, 1) < fsm.FormatOf(c) {
			out = append(out, name)
		}
	}
	return out
}

// put commits one definition. Another identity is taken away from its owner first; and an address or MAC that another
// tenure may still be using, because its service was deleted or redefined a moment ago, waits until that lease has run
// out everywhere (I1 is kept per service: two services with one address would be two holders). A definition that is here already is
// committed all the same: only the log knows whether that is the newest one.
func (b *backend) put(ctx context.Context, tried string, old, sv fsm.Service, known bool) (fsm.Effect, error) {
	if known && !sameIdentity(old, sv) {
		defer b.leader.frozen.freeze(sv.Name)()
		if err := b.disown(ctx, tried, sv.Name, fsm.ServiceChanged); err != nil {
			return "", err
		}
	}
	if !known || !sameIdentity(old, sv) {
		if err := b.untilFree(ctx, tried); err != nil {
			return "", err
		}
	}
	res, err := b.proposer.commit(ctx, fsm.PutService{Service: sv, At: b.deps.Clock.Wall(), By: b.cfg.Node})
	if errors.Is(err, raft.ErrLeadershipLost) { // patient must not try that again: it would call unchanged what this attempt created
		return "", api.Unavailable(tried, "the lead was lost before "+sv.Name+" was known to be committed; it may be")
	}
	return res.Effect, outcome(tried, res, err)
}

// disown takes a frozen service from its owner. What the plan had under way when it was frozen may come first.
func (b *backend) disown(ctx context.Context, tried, service string, reason fsm.Reason) error {
	for {
		own := b.machine.View().State.Ownerships[service]
		res, err := b.proposer.commit(ctx, fsm.Assign{
			Service: service, Planned: own.Epoch, Reason: reason, At: b.deps.Clock.Wall(), By: b.cfg.Node,
		})
		if err != nil || res.Refused != fsm.StaleEpoch {
			return outcome(tried, res, err)
		}
	}
}

// untilFree waits until ttl plus margin after this leader learnt of the last deletion or redefinition.
func (b *backend) untilFree(ctx context.Context, tried string) error {
	t := cluster.Derive(b.machine.View().State.Timing.Largest)
	for {
		left := t.TTL + t.Margin - b.scene.sinceFreed()
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
			timer.Stop()
			return api.Timeout(tried)
		case <-timer.C:
		}
	}
}

// Delete removes a definition; its holder closes as soon as it hears of it. It is taken from its owner first: the voters
// count an assignment from the moment at which they store it (rule 3), a deletion only when they apply it.
func (b *backend) Delete(ctx context.Context, service string) error {
	tried := "delete " + service
	if c, err := b.forward(ctx, tried); err != nil || c != nil {
		if err == nil {
			err = c.Delete(ctx, service)
		}
		return err
	}
	state := b.machine.View().State
	if _, known := state.Services[service]; !known {
		return api.UnknownService(service, slices.Sorted(maps.Keys(state.Services)))
	}
	defer b.leader.bell.ring()
	defer b.leader.frozen.freeze(service)()
	if err := b.disown(ctx, tried, service, fsm.ServiceDeleted); err != nil {
		return err
	}
	res, err := b.proposer.commit(ctx, fsm.DeleteService{Name: service, At: b.deps.Clock.Wall(), By: b.cfg.Node})
	return outcome(tried, res, err)
}

func sameService(a, b fsm.Service) bool {
	return sameIdentity(a, b) && slices.Equal(a.Ports, b.Ports) && slices.Equal(a.Targets, b.Targets) && a.Hold == b.Hold && a.Replay == b.Replay &&
		slices.Equal(a.Checks, b.Checks) && a.Unit == b.Unit && a.Wake.Same(b.Wake)
}

// fromAPI reads a definition; without a MAC it gets the one that is derived from the names.
func (b *backend) fromAPI(s api.Service) fsm.Service {
	sv := fsm.Service{
		Name: s.Name, Addresses: s.Addresses, Mode: modeOf(s.Mode), MAC: macOf(b.cfg.Cluster, s.Name, s.Mode, s.MAC), Targets: s.Targets, Replay: replayWord(s.Replay),
	}
	for _, p := range s.Ports {
		sv.Ports = append(sv.Ports, fsm.Port{Protocol: fsm.Protocol(p.Protocol), Number: p.Number, Hold: fsm.Hold(s.Holds[p.String()])})
	}
	sv.Unit, sv.Wake = fsm.Unit{Name: s.Unit, Manage: s.Manage}, wakeFromAPI(s.Wake)
	for _, c := range s.Checks {
		sv.Checks = append(sv.Checks, fsm.Check{
			Kind: fsm.CheckKind(c.Kind), Port: c.Port, Path: c.Path, Host: c.Host, StatusMin: c.StatusMin, StatusMax: c.StatusMax,
			Name: c.Name, Interval: time.Duration(c.Interval), Timeout: time.Duration(c.Timeout), Rise: c.Rise, Fall: c.Fall,
		})
	}
	return withHolds(sv, s.Hold)
}

// strayHolds finds holds of ports that the service does not guard: a slip of the pen, which would leave a port with another hold.
func strayHolds(s api.Service) (problems []string) {
	for _, port := range slices.Sorted(maps.Keys(s.Holds)) {
		if !slices.ContainsFunc(s.Ports, func(p api.Port) bool { return p.String() == port }) {
			problems = append(problems, fmt.Sprintf("service %s has a hold for port %s, which it does not guard: add the port, or leave its hold out", s.Name, port))
		}
	}
	return problems
}

// withHolds gives a definition its hold and brings those of its ports into the one form that says the same: where all are alike
// the service has it, else each port that has another one than drop.
func withHolds(sv fsm.Service, hold string) fsm.Service {
	sv.Hold = cmp.Or(fsm.Hold(hold), fsm.HoldDrop)
	alike := !slices.ContainsFunc(sv.Ports, func(p fsm.Port) bool { return sv.HoldOf(p) != sv.HoldOf(sv.Ports[0]) })
	of, ports := sv.HoldOf, slices.Clone(sv.Ports)
	for i, p := range ports {
		if ports[i].Hold = of(p); alike || ports[i].Hold == fsm.HoldDrop {
			ports[i].Hold = ""
		}
	}
	switch {
	case len(sv.Ports) > 0 && alike:
		sv.Hold = of(sv.Ports[0])
	case len(sv.Ports) > 0:
		sv.Hold = fsm.HoldDrop
	}
	sv.Ports = ports
	return sv
}

// modeOf gives the mode that a person wrote as the state has it; one that does not exist stays what it is, for Validate to refuse.
func modeOf(s string) fsm.Mode {
	if s == config.ModeMAC {
		return fsm.ModeMAC
	}
	return fsm.Mode(s)
}

// macOf gives mac0: what a person wrote, else one that is derived from the names. In mode address there is none.
func macOf(clusterName, service, mode string, mac []byte) fsm.MAC {
	if len(mac) == 0 && mode != config.ModeAddress {
		mac = config.DeriveMAC(clusterName, service)
	}
	return fsm.MAC(mac)
}

func toAPI(s fsm.Service) api.Service {
	out := api.Service{
		Name: s.Name, Addresses: s.Addresses, Mode: config.ModeMAC, MAC: api.MAC(s.MAC), Targets: s.Targets, Hold: string(s.Hold), Ports: []api.Port{},
		Replay: cmp.Or(string(s.Replay), config.ReplayTCP),
	}
	if s.Mode != fsm.ModeMAC {
		out.Mode = string(s.Mode)
	}
	for _, p := range s.Ports {
		port := api.Port{Protocol: string(p.Protocol), Number: p.Number}
		out.Ports = append(out.Ports, port)
		if p.Hold != "" {
			if out.Holds == nil {
				out.Holds = make(map[string]string)
			}
			out.Holds[port.String()] = string(p.Hold)
		}
	}
	out.Unit, out.Manage, out.Checks, out.Wake = s.Unit.Name, s.Unit.Manage, []api.Check{}, wakeToAPI(s.Wake)
	for _, c := range s.Checks {
		out.Checks = append(out.Checks, api.Check{
			Kind: string(c.Kind), Port: c.Port, Path: c.Path, Host: c.Host, StatusMin: c.StatusMin, StatusMax: c.StatusMax, Name: c.Name,
			Interval: api.Duration(c.Interval), Timeout: api.Duration(c.Timeout), Rise: c.Rise, Fall: c.Fall,
		})
	}
	return out
}

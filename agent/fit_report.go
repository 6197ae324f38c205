package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"nightporter/config"
	"nightporter/fsm"
)

// WakeFacts is what waking a host depends on, as its kernel has it.
type WakeFacts struct {
	Unarmed string      // why no magic packet would wake it, a sentence; "" = its cards are armed, or nobody looks at them
	Traits  []fsm.Trait // of kernel, cards and sleep mode, in any order
}

// reporter has this host say in the log whether it can be woken, whenever that has changed: drivers and power tools take the setting of a
// card away, kernels are replaced, cards are moved. It arms the cards each time, and keeps the wake addresses current. An idle host
// writes nothing.
type reporter struct {
	cfg       *config.Config
	clock     Clock
	machine   *fsm.Machine
	proposer  *proposer
	power     Power
	addresses func() ([]fsm.MAC, error)
	meta      *metaKeeper
	log       *slog.Logger
	bell      bell // rung after a resume

	seen  fsm.Node // this host's record at the last look
	wrong string   // what could not be found out, as it was logged
}

// Pauses between two looks: by itself, and where a report could not be committed.
const (
	fitEvery = 5 * time.Minute
	fitAgain = time.Second
)

func (r *reporter) run(ctx context.Context) {
	changed, cancel := r.machine.Watch()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if !r.stirred() {
				continue
			}
		case <-r.bell:
		case <-timer.C:
		}
		timer.Reset(r.look(ctx))
	}
}

// stirred says whether a change of the state is worth a look: this host came up, or its record is another one.
func (r *reporter) stirred() bool {
	me := r.machine.View().State.Nodes[r.cfg.Node]
	return me.Power != r.seen.Power || me.Sleeps != r.seen.Sleeps || me.Policy != r.seen.Policy || !slices.Equal(me.Wake, r.seen.Wake)
}

// look looks once, and says when to look again.
func (r *reporter) look(ctx context.Context) time.Duration {
	state := r.machine.View().State
	r.seen = state.Nodes[r.cfg.Node]
	if r.seen.Name == "" || r.seen.Power != fsm.Awake {
		return fitEvery
	}
	wake, err := r.addresses()
	if err != nil {
		r.complain("where magic packets for this host go cannot be found out: " + err.Error())
		return fitEvery
	}
	r.meta.setWake(wake)
	if r.seen.Policy != fsm.Sleeps {
		return fitEvery
	}
	facts, err := r.power.WakeFacts()
	if err != nil {
		r.complain("whether this host can be woken cannot be found out: " + err.Error())
		return fitEvery
	}
	r.wrong = ""
	c := fsm.ReportFitness{Node: r.cfg.Node, Report: fitReport(r.cfg, wake, facts), At: r.clock.Wall()}
	if told, ok := state.Fitness[r.cfg.Node]; ok && told.Report.Equal(c.Report) {
		return fitEvery
	}
	if len(belated(state, c)) > 0 {
		return time.Minute // until all are upgraded
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	res, err := r.proposer.propose(ctx, c)
	if err = cmp.Or(err, res.Err()); err != nil {
		r.log.Debug("whether this host can be woken is not recorded yet", "err", err)
		return fitAgain
	}
	r.log.Info("whether this host can be woken", "node", c.Node, "wol", c.Report.WoL, "why", c.Report.Why, "fingerprint", c.Report.Fingerprint())
	return fitEvery
}

// checkedPower looks, when the card is armed before a suspend, whether the log has the addresses that the cards have now: others would
// send their magic packets to nobody.
type checkedPower struct {
	Power
	check  func() error
	barred func() string
}

// Able implements Power: what keeps this host awake for longer is said before anything is handed over.
func (p checkedPower) Able(ctx context.Context) error {
	if why := p.barred(); why != "" {
		return errors.New(why)
	}
	return p.Power.Able(ctx)
}

// Arm implements Power.
func (p checkedPower) Arm() error {
	if err := p.Power.Arm(); err != nil {
		return err
	}
	return p.check()
}

// barred says why this host cannot sleep for as long as the cluster is as it is; "" = nothing. Members of version 0.1 would have to stop at a
// SecureOn password in the log, so nobody knows it, and no magic packet has it.
func (r *reporter) barred() string {
	state := r.machine.View().State
	late := belated(state, fsm.ReportFitness{})
	if r.cfg.Power != config.Sleeps || len(r.cfg.WoLPassword) == 0 || len(late) == 0 || bytes.Equal(passwordOf(state, r.cfg.Node), r.cfg.WoLPassword) {
		return ""
	}
	slices.Sort(late)
	return fmt.Sprintf("magic packets for %s need its SecureOn password (wol_password), which the others cannot be told while the version on %s does not know it: upgrade there, or take wol_password out",
		r.cfg.Node, strings.Join(late, " and "))
}

// current says whether the log has this host's wake addresses as they are now. If not, the others are told.
func (r *reporter) current() error {
	now, err := r.addresses()
	if err != nil {
		return err
	}
	state := r.machine.View().State
	if !bytes.Equal(passwordOf(state, r.cfg.Node), r.cfg.WoLPassword) {
		return errors.New("magic packets for it would not have the SecureOn password of its cards: the log does not have it yet (every member must be of a version that knows it)")
	}
	have := state.Nodes[r.cfg.Node].Wake
	if subset(now, have) {
		return nil
	}
	r.meta.setWake(now)
	return fmt.Errorf("magic packets for it would go to %s, and its cards have %s now: the log is brought up to date", macList(have), macList(now))
}

// subset says whether all of the one are in the other.
func subset(some, all []fsm.MAC) bool {
	return !slices.ContainsFunc(some, func(m fsm.MAC) bool { return !slices.Contains(all, m) })
}

func (r *reporter) complain(sentence string) {
	if r.wrong != sentence {
		r.wrong = sentence
		r.log.Error(sentence)
	}
}

// fitReport puts together what the configuration says and what the kernel does.
func fitReport(cfg *config.Config, wake []fsm.MAC, facts WakeFacts) fsm.FitReport {
	out := fsm.FitReport{
		Canary: fsm.CanaryMode(cfg.Canary), Idle: cfg.Idle > 0, WoL: fsm.WoLArmed, Wake: wake, Password: fsm.MAC(cfg.WoLPassword),
	}
	switch {
	case cfg.WoL == config.WoLAssumed:
		out.WoL = fsm.WoLAssumed
	case facts.Unarmed != "":
		out.WoL, out.Why = fsm.WoLUnarmed, shortened(facts.Unarmed, 500)
	}
	out.Traits = append(slices.Clone(facts.Traits), fsm.Trait{Name: "interface", Value: cfg.Interface}, fsm.Trait{Name: "suspend command", Value: strings.Join(cfg.SuspendCommand, " ")},
		fsm.Trait{Name: "wake addresses", Value: macList(wake)}, fsm.Trait{Name: "wol", Value: string(cfg.WoL)})
	if len(cfg.WoLPassword) > 0 {
		sum := sha256.Sum256(cfg.WoLPassword)
		out.Traits = append(out.Traits, fsm.Trait{Name: "wol_password", Value: "of digest " + hex.EncodeToString(sum[:4])})
	}
	slices.SortFunc(out.Traits, func(a, b fsm.Trait) int { return cmp.Compare(a.Name, b.Name) })
	for i, t := range out.Traits {
		out.Traits[i].Value = shortened(t.Value, 200)
	}
	return out
}

// shortened keeps a text within a bound, and different texts different.
func shortened(s string, most int) string {
	if len(s) <= most {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return strings.ToValidUTF8(s[:most-20], "") + "... (" + hex.EncodeToString(sum[:4]) + ")"
}

// passwordOf is the SecureOn password that magic packets for a node need; nil = none.
func passwordOf(state *fsm.State, node string) []byte {
	if p := state.Fitness[node].Report.Password; p != "" {
		return net.HardwareAddr(p)
	}
	return nil
}

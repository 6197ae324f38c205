package observer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// mistake is a second holder that the observer must see.
type mistake struct {
	name string
	id   Identity
	mac  net.HardwareAddr // nil: a plain second address on each card
}

// mistakes are what every run shows its observer: what a person does with `ip addr add` on two hosts, and what a floating
// identity without a fence does.
func mistakes() []mistake {
	mac := net.HardwareAddr{0x02, 0x4e, 0x50, 0xc0, 0, 2}
	return []mistake{
		{"a plain address on two hosts", Identity{
			Service: "control-plain", MAC: net.HardwareAddr{0x02, 0x4e, 0x50, 0xc0, 0, 1}, Addrs: []netip.Addr{netip.MustParseAddr("10.77.0.251")},
		}, nil},
		{"an unfenced identity on two hosts", Identity{
			Service: "control-identity", MAC: mac, Addrs: []netip.Addr{netip.MustParseAddr("10.77.0.252")},
		}, mac},
	}
}

// ControlIdentities are what an observer must look for beside the services, so that the controls can be shown to it.
func ControlIdentities() []Identity {
	var out []Identity
	for _, m := range mistakes() {
		out = append(out, m.id)
	}
	return out
}

// Controls makes the mistakes between two places of a laboratory that run no agent, and asks the very check that judges
// the run whether it sees them.
func (o *Observer) Controls(ctx context.Context, l *lab.Lab, a, b string) ([]history.Control, error) {
	var out []history.Control
	for _, m := range mistakes() {
		began := time.Now()
		for _, place := range []string{a, b, a} { // the third is a's return while b still has it
			if err := l.Claim(ctx, place, lab.Claim{Addr: m.id.Addrs[0], MAC: m.mac}); err != nil {
				return nil, fmt.Errorf("showing the observer %s: %w", m.name, err)
			}
			if err := o.uttered(ctx, m.id.Service, place, began); err != nil {
				return nil, fmt.Errorf("showing the observer %s: %w", m.name, err)
			}
			if place == a {
				began = time.Now()
			}
		}
		for _, place := range []string{a, b} {
			if err := l.Unclaim(ctx, place); err != nil {
				return nil, fmt.Errorf("taking the observer's control back: %w", err)
			}
		}
		out = append(out, history.Control{Name: m.name, Flagged: o.flagged(m, a, b)})
	}
	return out, nil
}

// uttered waits for a frame of a control from a place: without one there is nothing to see.
func (o *Observer) uttered(ctx context.Context, service, place string, since time.Time) error {
	for {
		o.mu.Lock()
		spans := o.uses.Spans()
		o.mu.Unlock()
		for _, s := range spans {
			if s.Service == service && s.Host == place && s.Last.After(since) {
				return nil
			}
		}
		if err := o.Past(ctx, time.Now()); err != nil {
			return fmt.Errorf("%s sent nothing in the control's name: %w", place, err)
		}
	}
}

// flagged lets the check judge the control as if a and b were hosts, and the log had given the identity first to a, then
// to b: that would be in order if a had kept silent from then on.
func (o *Observer) flagged(m mistake, a, b string) bool {
	h := &history.History{
		Form: history.Lab,
		Setup: history.Setup{
			Hosts: []history.Host{{Name: a}, {Name: b}}, Services: []history.Service{{Name: m.id.Service}},
		},
		Records: []history.Record{{Service: m.id.Service, Epoch: 1, Index: 1, To: a}, {Service: m.id.Service, Epoch: 2, Index: 2, To: b}},
	}
	o.Fill(h)
	for _, v := range check.Judge(h) {
		if v.Check == "single-holder" {
			return v.State == check.Failed
		}
	}
	return false
}

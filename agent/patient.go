package agent

import (
	"context"
	"time"

	"nightporter/api"
	"nightporter/cluster"
)

// patient is the backend as people see it: while the lead is moving, what needs a leader is tried again for a moment instead
// of being refused. Each of these can be asked twice: what was done already stays, or is refused by its epoch. Peers get
// their answer at once, since they try again themselves.
type patient struct{ *backend }

var _ api.Backend = patient{}

// patienceMost bounds the wait: the shortest --timeout that makes sense should still end with the reason.
const patienceMost = 5 * time.Second

// insistently repeats f while it finds no leader, for three quarters of the longest election.
func insistently[T any](ctx context.Context, b *backend, f func() (T, error)) (T, error) {
	out, err := f()
	if err == nil || api.CodeOf(err) != api.CodeNoLeader || api.CallerOf(ctx).Peer != "" {
		return out, err
	}
	election := 2 * cluster.Derive(b.machine.View().State.Timing.Failover).RaftElection
	end := time.NewTimer(min(election*3/4, patienceMost))
	defer end.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for err != nil && api.CodeOf(err) == api.CodeNoLeader {
		select {
		case <-ctx.Done():
			return out, err
		case <-end.C:
			return out, err
		case <-look.C:
		}
		out, err = f()
	}
	return out, err
}

// Apply implements api.Backend.
func (p patient) Apply(ctx context.Context, list []api.Service) (api.Applied, error) {
	return insistently(ctx, p.backend, func() (api.Applied, error) { return p.backend.Apply(ctx, list) })
}

// Delete implements api.Backend.
func (p patient) Delete(ctx context.Context, service string) error {
	return p.again(ctx, func() error { return p.backend.Delete(ctx, service) })
}

// Move implements api.Backend.
func (p patient) Move(ctx context.Context, service, node string) (api.Moved, error) {
	return insistently(ctx, p.backend, func() (api.Moved, error) { return p.backend.Move(ctx, service, node) })
}

// Set implements api.Backend.
func (p patient) Set(ctx context.Context, s api.Settings) error {
	return p.again(ctx, func() error { return p.backend.Set(ctx, s) })
}

// Sleep implements api.Backend.
func (p patient) Sleep(ctx context.Context, node string) (api.PowerChange, error) {
	return insistently(ctx, p.backend, func() (api.PowerChange, error) { return p.backend.Sleep(ctx, node) })
}

// SleepAnyway implements api.Backend.
func (p patient) SleepAnyway(ctx context.Context, node string) (api.PowerChange, error) {
	return insistently(ctx, p.backend, func() (api.PowerChange, error) { return p.backend.SleepAnyway(ctx, node) })
}

// Canary implements api.Backend.
func (p patient) Canary(ctx context.Context, node string) (api.CanaryResult, error) {
	return insistently(ctx, p.backend, func() (api.CanaryResult, error) { return p.backend.Canary(ctx, node) })
}

// AcceptFitness implements api.Backend.
func (p patient) AcceptFitness(ctx context.Context, node string) error {
	return p.again(ctx, func() error { return p.backend.AcceptFitness(ctx, node) })
}

// Forget implements api.Backend.
func (p patient) Forget(ctx context.Context, node string) error {
	return p.again(ctx, func() error { return p.backend.Forget(ctx, node) })
}

func (p patient) again(ctx context.Context, f func() error) error {
	_, err := insistently(ctx, p.backend, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

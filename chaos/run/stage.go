package run

import (
	"context"
	"slices"
	"time"

	"nightporter/chaos/history"
	"nightporter/chaos/nemesis"
)

var _ nemesis.Stage = (*trial)(nil)

// HushOperators implements nemesis.Stage.
func (t *trial) HushOperators() (open func()) { return t.operators.Close() }

// HushClients implements nemesis.Stage.
func (t *trial) HushClients() (open func()) { return t.clients.Close() }

// Whole implements nemesis.Stage.
func (t *trial) Whole() string { return t.missing() }

// Voters implements nemesis.Stage.
func (t *trial) Voters() []string {
	var out []string
	for name, st := range t.sampler.fresh() {
		if out == nil || st.Leader == name {
			out = st.Quorum.Voters
		}
		if st.Leader == name {
			break
		}
	}
	return slices.Sorted(slices.Values(out))
}

// Sleep implements nemesis.Stage. The leader is asked, or whoever answers.
func (t *trial) Sleep(ctx context.Context, host string) bool {
	ask := t.sampler.Leader()
	if ask == "" {
		ask = t.field.hosts[0]
	}
	return t.operator.Sleep(ctx, ask, host)
}

// gatherWithin is how long the moves of Gather may take: a target that has just come back is given a service at most a while later.
const gatherWithin = 10 * time.Second

// Gather implements nemesis.Stage.
func (t *trial) Gather(ctx context.Context, host string) bool {
	st, known := t.sampler.fresh()[host]
	if !known {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, gatherWithin)
	defer cancel()
	for _, sv := range st.Services {
		i := slices.IndexFunc(t.field.all(), func(x history.Service) bool { return x.Name == sv.Name && slices.Contains(x.Targets, host) })
		if i < 0 || sv.Owner == host {
			continue
		}
		for !t.operator.Bring(ctx, sv.Name, []string{host}) {
			if !until(ctx, time.Now().Add(200*time.Millisecond)) {
				return false
			}
		}
	}
	return true
}

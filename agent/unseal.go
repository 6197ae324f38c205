package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"nightporter/fsm"
	"nightporter/identity"
)

// unseal gives the addresses and MACs of former services back to this host. The kernel seals whatever this host once held,
// over restarts of the agent too, so that old sockets stay silent; when no service has it any more, nobody is disturbed
// by them.
type unseal struct {
	machine *fsm.Machine
	raft    raftNode
	kernel  Kernel
	log     *slog.Logger
}

// unsealAfter is how long the services must be as they are before what they do not use is given back. While the log is
// replayed after a start, services that exist are not there yet; and without a leader the state may be an old one.
const unsealAfter = 10 * time.Second

func (u *unseal) run(ctx context.Context) {
	changed, cancel := u.machine.Watch()
	defer cancel()
	wait := time.NewTimer(unsealAfter)
	defer wait.Stop()
	services := u.machine.View().State.Services
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if now := u.machine.View().State.Services; !maps.EqualFunc(services, now, sameIdentity) {
				services = now
				wait.Reset(unsealAfter)
			}
		case <-wait.C:
			if u.machine.View().State.Cluster.ID == "" || u.raft.Leader() == "" {
				wait.Reset(unsealAfter)
				continue
			}
			if err := u.kernel.Retain(identities(services)); err != nil {
				u.log.Warn("the addresses of former services cannot be used by this host itself yet", "err", err)
				wait.Reset(unsealAfter)
			}
		}
	}
}

// identities are the services as the kernel knows them, by name.
func identities(services map[string]fsm.Service) []identity.Spec {
	var out []identity.Spec
	for _, name := range slices.Sorted(maps.Keys(services)) {
		out = append(out, specOf(services[name]))
	}
	return out
}

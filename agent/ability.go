package agent

import (
	"context"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/config"
	"nightporter/lease"
)

// ability remembers whether this host can sleep as it is to, for status. The sleeper asks anew before each sleep.
type ability struct {
	mu    sync.Mutex
	asked lease.Boot
	known bool
	err   error
}

// abilityFresh is how long an answer counts.
const abilityFresh = 30 * time.Second

// abilityLimit is how long status waits for one.
const abilityLimit = 2 * time.Second

func (a *ability) look(ctx context.Context, clock Clock, able func(context.Context) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := clock.Boot(); !a.known || now.Sub(a.asked) > abilityFresh {
		ctx, cancel := context.WithTimeout(ctx, abilityLimit)
		defer cancel()
		a.err = able(ctx)
		a.asked, a.known = now, true
	}
	return a.err
}

// usualHandOver is how long a hand-over before a sleep takes here: the longest that was seen, at least a ttl and two seconds.
func (s *sleeper) usualHandOver(t cluster.Timing) time.Duration {
	return max(time.Duration(s.took.Load()), t.TTL+2*time.Second)
}

// hostSleep is what status shows of this host's own sleep.
func (b *backend) hostSleep(ctx context.Context) api.HostSleep {
	s := api.HostSleep{How: string(b.cfg.Suspend)}
	if b.cfg.Suspend == config.SuspendOwn {
		s.How = "command"
	}
	if b.cfg.Power == config.Sleeps {
		s.Able = true
		if err := b.ability.look(ctx, b.deps.Clock, b.deps.Power.Able); err != nil {
			s.Able, s.Why = false, err.Error()
		}
	}
	longest := time.Duration(0)
	s.Delay, longest, s.DelayWhy = b.delay.delay()
	s.DelayMax = api.Duration(longest)
	return s
}

// sleepProblems are the sentences of what keeps this host from sleeping, or from handing over before a sleep.
func (b *backend) sleepProblems(s api.HostSleep, t cluster.Timing) (out []string) {
	if s.Why != "" {
		out = append(out, "this host is to sleep and stays awake: "+s.Why)
	}
	return say(out, b.delay.problem(b.sleeper.usualHandOver(t)))
}

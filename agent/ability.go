package agent

import (
	"context"
	"fmt"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/config"
	"nightporter/lease"
)

// ability remembers whether this host can sleep as it is to, for status. The sleeper asks anew before each sleep.
type ability struct {
	turn  turn // held while it is asked, which may take as long as logind does
	asked lease.Boot
	known bool
	err   error
}

// abilityFresh is how long an answer counts.
const abilityFresh = 30 * time.Second

// abilityLimit is how long status waits for one.
const abilityLimit = 2 * time.Second

func (a *ability) look(ctx context.Context, clock Clock, able func(context.Context) error) error {
	select {
	case a.turn <- struct{}{}:
		defer a.turn.Unlock()
	case <-ctx.Done():
		return fmt.Errorf("whether it can sleep is not known: %w", ctx.Err())
	}
	now := clock.Boot()
	if a.known && now.Sub(a.asked) <= abilityFresh {
		return a.err
	}
	limited, cancel := context.WithTimeout(ctx, abilityLimit)
	defer cancel()
	err := able(limited)
	if ctx.Err() == nil { // else whoever asked may have gone before there was an answer
		a.asked, a.known, a.err = now, true, err
	}
	return err
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

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"nightporter/api"
)

// Pauses of a watch: what rings no bell (checks, who waits, a lease that is lost) is looked at so often while somebody watches, and a
// hand-over, in which many things change at once, is told in so many pictures and no more.
const (
	watchEvery = time.Second
	watchLeast = 50 * time.Millisecond
)

// Watch tells the status when it is another one than the asker has.
func (b *backend) Watch(ctx context.Context, q api.WatchQuery) (api.Watched, error) {
	changed, cancel := b.machine.Watch()
	defer cancel()
	members, leave := b.post.members.add()
	defer leave()
	opened, remove := b.post.opens.bells.add()
	defer remove()
	end := time.NewTimer(min(time.Duration(q.Wait), api.WaitMost))
	defer end.Stop()
	for over := false; ; {
		s, err := b.Status(ctx)
		if err != nil {
			return api.Watched{}, err
		}
		if q.Ask && api.CallerOf(ctx).Peer == "" {
			b.asked.fill(ctx, asks{b.deps.Clock.Boot, b.post.opens.at, func(ctx context.Context, node string) (api.Status, error) { return b.peer(node).Status(ctx) }}, &s, q.Mark == "")
		}
		mark, err := markOf(s)
		if err != nil || mark != q.Mark || q.Wait <= 0 || over {
			return api.Watched{Mark: mark, Status: s}, err
		}
		again := time.NewTimer(watchEvery)
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-end.C:
			over = true
		case <-changed:
		case <-members:
		case <-opened:
		case <-again.C:
		}
		again.Stop()
		if err == nil && !over {
			err = pause(ctx, watchLeast)
		}
		if err != nil {
			return api.Watched{}, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// times are what stands in sentences of how long something has lasted.
var times = regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(h|m|s|ms|µs)\b`)

// markOf sums up a status without what only grows older, and without who said it: whether an owner answers in time is no news, and what a
// voter granted is what the owner holds. The status itself stays as it is.
func markOf(s api.Status) (string, error) {
	s.Time = time.Time{}
	s.Known.Age, s.Known.Index = 0, 0
	s.Services, s.Nodes = slices.Clone(s.Services), slices.Clone(s.Nodes)
	s.Problems, s.Troubles = nil, slices.Clone(s.Troubles) // the problems are the troubles
	for i := range s.Troubles {
		s.Troubles[i].What = times.ReplaceAllString(s.Troubles[i].What, "")
	}
	for i := range s.Services {
		v := &s.Services[i]
		v.Lease.Left, v.Holder.LeaseAge, v.Holder.Source = 0, 0, ""
		if v.Holder.Lease == "granted" {
			v.Holder.Lease = "held"
		}
		if v.Holder.Fence == "presumed-open" {
			v.Holder.Fence = "open"
		}
		v.Lease.Refused, v.Health = slices.Clone(v.Lease.Refused), slices.Clone(v.Health)
		for j := range v.Lease.Refused {
			v.Lease.Refused[j].Left = 0
		}
		for j := range v.Health {
			v.Health[j].Age = 0
		}
	}
	for i := range s.Nodes {
		if s.Nodes[i].Alive {
			s.Nodes[i].LastSeen = time.Time{}
		}
	}
	raw, err := json.Marshal(s)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), err
}

package api

import "context"

// WatchQuery asks for the status when it is another one than that of the mark.
type WatchQuery struct {
	Mark string   `json:"mark"`         // of the last answer; "" = answer at once
	Wait Duration `json:"wait_seconds"` // at most WaitMost; after that the same status is told again
	Ask  bool     `json:"ask"`          // the owners of the services are asked for their leases and fences, half a second at most; of a question with a mark at most every 2 s, and between what they said last is told
}

// Watched is a status with its mark. What only grows older (ages, the rest of a lease) makes no other mark, nor does who said how a lease and a
// fence elsewhere are (Holder.Source: the owner did not answer in time).
type Watched struct {
	Mark   string `json:"mark"`
	Status Status `json:"status"`
}

// Watch implements Backend.
func (c *Client) Watch(ctx context.Context, q WatchQuery) (out Watched, err error) {
	err = c.ask(ctx, "watch", "read the status", q, &out)
	return out, err
}

// held is handle for a question that is held open until there is news. It does not hold up the end of the daemon: its caller asks the next one.
func held[In, Out any](s *Server, f func(context.Context, In) (Out, error)) call {
	return handle(func(ctx context.Context, in In) (Out, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.open, cancel)()
		out, err := f(ctx, in)
		if err != nil && s.open.Err() != nil {
			return out, Unavailable("wait for news", "the daemon is stopping")
		}
		return out, err
	})
}

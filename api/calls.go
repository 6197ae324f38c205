package api

import "context"

// prefix is the version of the contract in every path.
const prefix = "/v1/"

// The bodies of requests. An operation without one gets {}.
type (
	none     struct{}
	nameBody struct {
		Name string `json:"name"`
	}
	moveBody struct {
		Service string `json:"service"`
		Node    string `json:"node"`
	}
	applyBody struct {
		Services []Service `json:"services"`
	}
	joinBody struct {
		Addrs []string `json:"addrs"`
	}
	proposal struct {
		Command []byte `json:"command"`
	}
)

// handle makes a call of a function from one body to one answer.
func handle[In, Out any](f func(context.Context, In) (Out, error)) call {
	return func(ctx context.Context, in func(any) error) (any, error) {
		var body In
		if err := in(&body); err != nil {
			return nil, err
		}
		return f(ctx, body)
	}
}

// calls is the list of all operations, by the last part of their path.
func (s *Server) calls() map[string]call {
	b := s.backend
	return map[string]call{
		"status":   handle(func(ctx context.Context, _ none) (Status, error) { return b.Status(ctx) }),
		"members":  handle(func(ctx context.Context, _ none) ([]NodeStatus, error) { return b.Members(ctx) }),
		"services": handle(func(ctx context.Context, _ none) ([]Service, error) { return b.Services(ctx) }),
		"version":  handle(func(ctx context.Context, _ none) (Version, error) { return b.Version(ctx) }),
		"history":  handle(func(ctx context.Context, q nameBody) (History, error) { return b.History(ctx, q.Name) }),
		"events":   held(s, b.Events),
		"watch":    held(s, b.Watch),
		"explain":  handle(func(ctx context.Context, q nameBody) (Explained, error) { return b.Explain(ctx, q.Name) }),
		"why":      handle(func(ctx context.Context, q nameBody) (Why, error) { return b.Why(ctx, q.Name) }),
		"wakes":    handle(func(ctx context.Context, q WakesQuery) (Wakes, error) { return b.Wakes(ctx, q) }),
		"report":   handle(func(ctx context.Context, q ReportQuery) (Report, error) { return b.Report(ctx, q) }),
		"apply":    handle(func(ctx context.Context, q applyBody) (Applied, error) { return b.Apply(ctx, q.Services) }),
		"delete":   handle(func(ctx context.Context, q nameBody) (none, error) { return none{}, b.Delete(ctx, q.Name) }),
		"move":     handle(func(ctx context.Context, q moveBody) (Moved, error) { return b.Move(ctx, q.Service, q.Node) }),
		"set":      handle(func(ctx context.Context, q Settings) (none, error) { return none{}, b.Set(ctx, q) }),
		"sleep":    handle(s.sleep),
		"canary":   handle(func(ctx context.Context, q nameBody) (CanaryResult, error) { return b.Canary(ctx, q.Name) }),
		"wake":     handle(func(ctx context.Context, q nameBody) (PowerChange, error) { return b.Wake(ctx, q.Name) }),
		"join":     handle(func(ctx context.Context, q joinBody) (Joined, error) { return b.Join(ctx, q.Addrs) }),
		"leave":    handle(func(ctx context.Context, _ none) (none, error) { return none{}, b.Leave(ctx) }),
		"forget":   handle(func(ctx context.Context, q nameBody) (none, error) { return none{}, b.Forget(ctx, q.Name) }),
		"propose":  handle(s.propose),
		"backup":   handle(func(ctx context.Context, _ none) (BackupOf, error) { return b.Backup(ctx) }),
		"drain":    handle(func(ctx context.Context, q DrainQuery) (Drained, error) { return b.Drain(ctx, q) }),
		"undrain":  handle(func(ctx context.Context, q nameBody) (none, error) { return none{}, b.Undrain(ctx, q.Name) }),
		"doctor":   handle(func(ctx context.Context, q DoctorQuery) (DoctorReport, error) { return b.Doctor(ctx, q) }),

		"restorable":     handle(b.Restorable),
		"lift-epochs":    handle(func(ctx context.Context, e Epochs) (none, error) { return none{}, b.LiftEpochs(ctx, e) }),
		"history-of":     handle(b.HistoryOf),
		"accept-fitness": handle(func(ctx context.Context, q nameBody) (none, error) { return none{}, b.AcceptFitness(ctx, q.Name) }),
	}
}

// propose is for nodes only: what it carries is judged by nobody before it is in the log.
func (s *Server) propose(ctx context.Context, q proposal) (proposal, error) {
	if CallerOf(ctx).Peer == "" {
		return proposal{}, &Error{CodePermission, "cannot propose a raw command: only the cluster's own nodes may", "use the command for what you want to change"}
	}
	out, err := s.backend.Propose(ctx, q.Command)
	return proposal{out}, err
}

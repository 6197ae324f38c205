package api

import "context"

// Backend is what an agent must be able to do. Every error that a person is to understand is an *Error; any other is
// shown as internal. A method that changes something returns when the change is committed, Move and Sleep when it is
// carried out; a context that ends first leaves it open whether it happened.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	Members(ctx context.Context) ([]NodeStatus, error)
	Services(ctx context.Context) ([]Service, error)
	History(ctx context.Context, service string) (History, error)
	Version(ctx context.Context) (Version, error)
	Why(ctx context.Context, node string) (Why, error)
	Wakes(ctx context.Context, q WakesQuery) (Wakes, error)
	Report(ctx context.Context, q ReportQuery) (Report, error)

	Apply(ctx context.Context, services []Service) (Applied, error)
	Delete(ctx context.Context, service string) error
	Move(ctx context.Context, service, node string) (Moved, error)
	Set(ctx context.Context, s Settings) error

	Sleep(ctx context.Context, node string) (PowerChange, error)
	// SleepAnyway is Sleep for a node that has not shown that it can be woken, or has shown that it cannot.
	SleepAnyway(ctx context.Context, node string) (PowerChange, error)
	Wake(ctx context.Context, node string) (PowerChange, error)
	// Canary puts a node to sleep and wakes it, to see whether it can be woken, and returns when that is over.
	Canary(ctx context.Context, node string) (CanaryResult, error)
	// AcceptFitness has a node count as one that can be woken, because an operator says so.
	AcceptFitness(ctx context.Context, node string) error

	Join(ctx context.Context, addrs []string) (Joined, error)
	Leave(ctx context.Context) error
	Forget(ctx context.Context, node string) error

	// Propose hands an encoded command to the leader and gives back the encoded result. The server carries it for
	// peers only; a local caller is refused.
	Propose(ctx context.Context, command []byte) ([]byte, error)
}

// Caller is who sent a request.
type Caller struct {
	Peer string // the node's name as its certificate has it; "" = a local user at the socket
}

type callerKey struct{}

// CallerOf tells a Backend who asks. A request that a peer forwarded must not be forwarded again: a node that is not
// the leader answers it with NoLeader.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

func withCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

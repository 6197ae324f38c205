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
	HistoryOf(ctx context.Context, q HistoryQuery) (History, error)
	// Events and Watch wait for news where there is none, for as long as they are asked to.
	Events(ctx context.Context, q EventsQuery) (Events, error)
	Watch(ctx context.Context, q WatchQuery) (Watched, error)
	Version(ctx context.Context) (Version, error)
	Why(ctx context.Context, node string) (Why, error)
	// Explain tells why a service or node is as it is: name is its name, or service/NAME or node/NAME.
	Explain(ctx context.Context, name string) (Explained, error)
	Wakes(ctx context.Context, q WakesQuery) (Wakes, error)
	Report(ctx context.Context, q ReportQuery) (Report, error)
	// Doctor looks for what keeps this host, or with Peers all of them together, from working.
	Doctor(ctx context.Context, q DoctorQuery) (DoctorReport, error)

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

	// Drain takes a node out of service, and Undrain ends that.
	Drain(ctx context.Context, q DrainQuery) (Drained, error)
	Undrain(ctx context.Context, node string) error

	// Backup gives the replicated state.
	Backup(ctx context.Context) (BackupOf, error)
	// Restorable says whether what a restore is about to do would be refused; LiftEpochs is its first step.
	Restorable(ctx context.Context, q RestoreQuery) (Restorable, error)
	LiftEpochs(ctx context.Context, e Epochs) error

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

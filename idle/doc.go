// Package idle finds out whether anybody needs this host, and decides when it may go to sleep by itself.
//
//   - Watch (watch.go) is the decision, a pure state machine: it takes samples of reasons to be awake, and says whether the host is busy,
//     idle, held, or to sleep now.
//   - Span and Moment (schedule.go) are the times of a week at which the host stays awake, or is to wake. They are pure.
//   - Flows (flows.go) judges which connections are used, from their byte counters. It is pure. Sockets (sockets.go, sock_diag) and
//     Tracked (conntrack.go) read the counters.
//   - Logins (logins.go) finds people where there is no logind, which package login asks.
//   - Load, Traffic (load.go) and Running (process.go) read what the kernel says of processes and interfaces.
//
// A time.Duration that is called now, at or since counts from boot on CLOCK_BOOTTIME. Sockets and counters are those of the network
// namespace of the calling thread.
package idle

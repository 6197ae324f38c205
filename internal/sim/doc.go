// Package sim is the whole cluster in one process and in virtual time (testing/synctest): real agents (agent.Run, with real
// Raft, memberlist, leases, state machine and plan) on simulated machines, each with a kernel, clocks, a disk, a power
// supply and a network card. Only what agent.Deps names is replaced.
//
// A seed gives a Plan: the hosts, the services, what clients and operators do, and the faults. It does not fix how
// goroutines interleave. What happens is written into a history (package chaos/history), and judged by the same checks as a
// run in the laboratory (package chaos/check).
//
// A goroutine that waits for a mutex does not wait durably, so virtual time stands still while one does. Nothing here
// waits for time while it is called with a lock of the agent held: the clock and the mirror answer at once, datagrams and
// frames are queued. Only kernel calls, disk writes of Raft, dials and the suspend command take time.
package sim

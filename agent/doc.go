// Package agent is the imperative shell of nightporter: it starts everything in the right order, gathers what the pure
// functions of the other packages need, asks them, and carries out what they say.
//
// The pieces, each in a file of its own, and what each owns:
//
//	run.go       the life of an agent from start to hand-over: read this first
//	scene.go     what is known at a moment, gathered as one value
//	tenant.go    one service on this host: prepare, ask, open, renew, close, release, clean up
//	ballot.go    this host's vote in the leases, with its mirror on tmpfs
//	ports.go     who listens on a target; what nobody listens at is shut
//	replay.go    what a front keeps of clients, and gives to the target
//	flows.go     connections that stay while their target sleeps
//	post.go      the messages between agents
//	lead.go      what only the Raft leader does: records, plan, voters
//	founding.go  how a cluster begins
//	sleeper.go   this host's own sleep and what comes after a resume
//	waking.go    demand, magic packets, quorum wake
//	backend.go   the admin surface
//
// The loop is level-triggered: an event only rings a bell, and whoever hears it compares what is wanted with what is.
package agent

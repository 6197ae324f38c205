// Package lease decides, in time, who may use a service's identity: a holder asks all Raft voters for the right to
// use an epoch for a ttl, and a majority of grants lets it keep its fence open until t_send + ttl - margin.
//
// Voter and Holder are pure state machines: no clock, no goroutine, no I/O, no lock. Time comes in as Boot values, what
// the voter's log says comes in as Facts, and messages come in and go out as values; the caller serializes calls, keeps
// one lock around "close the fence" and "set its deadline", and writes Voter.Table to tmpfs before each answer.
// DESIGN.md restates the protocol, says why I1 (single holder) and I9 (epochs only rise) hold, and lists what the
// caller owes.
package lease

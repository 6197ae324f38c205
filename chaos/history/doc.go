// Package history is what a run of a cluster leaves behind, in a laboratory or in virtual time: who used which identity
// and when, what the log says, which faults there were, what clients and operators saw. Everything in it is a plain value
// that JSON keeps, so that a run can be judged again years later (package check).
//
// All times are true times: those of the one clock that the observer reads, never of an agent's own, which a run may shift.
package history

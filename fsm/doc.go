// Package fsm is the replicated truth: what the cluster has agreed on (State), the commands that change it (Command),
// how a command changes it (Apply, a pure function), how both stand in the Raft log and in snapshots (Encode, Decode,
// EncodeState, DecodeState), and the thin adapter that lets hashicorp/raft drive all that (Machine). DESIGN.md beside
// it gives the reasons.
package fsm

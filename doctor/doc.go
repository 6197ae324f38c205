// Package doctor looks for what keeps a host, or a cluster of hosts, from doing what it should: before the installation, after it, and while
// services run.
//
// It gathers facts (facts.go, look_*.go) from the kernel, the files of this host, the LAN and the other hosts; pure functions judge them
// (judge_*.go, together.go) and say what is so, why it matters and what mends it. Every finding has its entry in the catalogue, which
// docs/doctor.md shows.
//
// Nothing here disturbs a running service: the LAN is asked for the services' addresses as RFC 5227 has it, without an address of its own
// and with the host's own MAC; the kernel is tried in a network namespace of its own; ports are tried without a word, or with a question of
// gossip that nobody notes.
package doctor

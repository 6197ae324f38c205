// Package simnet is a local network in memory, for testing/synctest: everything that waits in it waits durably, and time
// is the bubble's. A Switch joins Hosts; each has Processes with sockets. One model, with one seed, decides the fate of
// every message: datagrams and raw frames are lost, late, doubled and overtaken; segments of streams are sent again, as
// TCP does, so that they only come late.
//
// A process can be stopped (SIGSTOP): what it sends leaves when it goes on, and what arrives waits in its sockets. A host
// can be unreachable (off, asleep, link down): what arrives is lost, and what would be sent is too.
package simnet

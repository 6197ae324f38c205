// Package front is what a host says to the clients of a service that it holds for a sleeping target: a waiting page, or a
// connection that it takes at once and passes on when the target is up. (Silence and a reset need no program: they are the
// kernel's, package identity.)
//
// Connections come to it by the kernel's transparent proxy: the guard of an identity diverts those to a port of the service to
// the Door's own listeners on the loopback addresses (Documentation/networking/tproxy.rst). A connection's local address is still
// the service's, which tells what it is for; answers leave from that address. No port of the host is taken, so a host that runs
// its own sshd can be the front of somebody else's.
package front

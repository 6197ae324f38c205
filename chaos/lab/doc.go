// Package lab builds a small network of hosts on one Linux machine: each host has a network namespace with one network
// card, a bridge in a namespace of its own is the switch, and every host runs the real agent and a tiny server. Clients
// have namespaces too, without an agent.
//
// Three kinds of process make a lab. The owner (a test, the demo, `nightporter lab up`) calls Up. Up starts the keeper,
// which stands outside and does nothing but wait. The keeper starts the supervisor as the first process of new network,
// mount, PID, IPC and UTS namespaces (and of a new user namespace where the owner is not root). The supervisor builds
// everything and serves the control socket. So the machine's own network is never touched, and when the supervisor dies,
// however, the kernel ends every process and deletes every namespace; the keeper then removes the directory and the
// control groups. When the keeper dies, the supervisor notices, cleans up and ends.
//
// A lab host can be asleep as a real one: see node.go for the power states, standby.go for the silence, nic.go for the
// stand-in of the network card's wake logic.
//
// Goroutines: the supervisor has one for the dead (reaper), one per namespace (space, on a locked thread), one per host
// (node), one per sleeping host (nic) and one per control connection. The owner's process has one per running Capture.
package lab

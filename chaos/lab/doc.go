// Package lab builds a small network of hosts on one Linux machine: each host has a network namespace with one network
// card, a switch in a namespace of its own joins them, and every host runs the real agent and a tiny server. Clients
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
// The switch is the kernel's bridge, or with Options.Switch "user" one of the lab's own, which forwards as a bridge does and
// can delay, double and reorder frames besides; see fabric.go, userswitch.go (forwarding), path.go (the treatment of a path)
// and ring.go (ports). A Capture sees the same with both: a frame where it comes in, and again where it goes out.
//
// What can go wrong on purpose is listed in faults.go. Three of the faults need the agent's help, since a lab may touch
// neither the machine's clocks nor its disk: every host has a page of memory (internal/labpage) from which its agent reads
// by how much its clocks are off and how its disk behaves. A lab host's sleep is entered there too: its CLOCK_MONOTONIC has
// stood still, as after a real one. An agent that is given a page outside a lab host does not start.
//
// Goroutines: the supervisor has one for the dead (reaper), one per namespace (space, on a locked thread), one per host
// (node), one per sleeping host (nic), one for the switch in user space and one per control connection. The owner's process has one per running Capture.
package lab

// Package wake holds what a host does about power: it sees the demand of clients for a sleeping machine, keeps it, sends magic
// packets, suspends this host, notices that it was suspended, and arms the network card.
//
// The parts do not know each other; the caller connects them:
//
//   - Listen (demand.go) sees a connection attempt on an interface through a packet socket. What counts as demand is
//     written twice, as a kernel filter (filter.go) and as a pure function over the frame (frame.go): the filter keeps the
//     process asleep, the function decides.
//   - Swallowed (swallowed.go) and Parked (parked.go) keep what clients said, for a replay to the target: attempts to connect, and
//     the words on its connections. They are pure. What is replayed is corrected first (rewrite.go). Wire and Sight (wire.go) send it, and
//     see when it can be sent.
//   - Listening and Established (sockets.go, expected.go) ask this host's kernel who listens, and which connections there are.
//   - Caller (magic.go) sends magic packets. Addresses (addresses.go) says where those for this host should go.
//   - Campaign and Board (campaign.go, board.go) decide when to send them. They are pure: time is passed in.
//   - Suspender (suspend.go) runs the suspend command; Edge (edge.go) notices that the host was away.
//   - ReadArming and Arm (arm.go) look after the Wake-on-LAN setting of the card.
//
// A time.Duration that is called now, at or boot counts from boot on CLOCK_BOOTTIME, the clock that goes on while the host
// is suspended. Sockets belong to the network namespace of the thread that opens them.
package wake

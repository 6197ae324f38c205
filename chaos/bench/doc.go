// Package bench measures what nightporter promises, on labs that it builds itself: how long a client waits when a holder's
// host dies, how long a planned move leaves the identity closed everywhere, how soon a client's SYN becomes a magic packet,
// and what an idle agent costs, and what the kernel's fence costs for each renewal and each packet. Where keepalived is installed, it is measured beside ours, in the same kind of lab, with the
// same probe.
//
// Each table shows the client's view (a probe that asks once a millisecond or two), the kernel's view (frames at the switch,
// or the instants at which fences closed and opened, on one clock) and the probe's own gaps while nothing happened: what a
// busy machine does to the probe is no blackout.
//
// Goroutines: a probe has two, a Capture one; each is waited for.
package bench

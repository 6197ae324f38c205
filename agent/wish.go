package agent

import (
	"bytes"
	"net"
	"slices"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
)

// wish is what the replicated state and this host's own condition want of one service here. It is a value, computed
// anew whenever something changed.
type wish struct {
	Service fsm.Service
	Exists  bool // the service is defined
	Own     fsm.Ownership
	Prev    string             // the owner before Own
	Mine    bool               // this host owns it and may ask for it
	Hush    bool               // the fence stays closed: it is in doubt who else is there
	Waits   bool               // what this host would get it could not open: it is in doubt, or was left behind
	Serving bool               // this host is one of its targets
	Stand   bool               // be prepared behind the closed fence: a target that is awake shows there that the service answers
	Leaving bool               // the record says that this host is about to suspend
	Sleeps  uint64             // the count of that sleep
	Park    bool               // keep the address behind the closed fence (a target on its way into sleep or out of it)
	Heir    bool               // another host owns it now and is in touch
	Cards   []net.HardwareAddr // of all members, where the service has its holder's MAC
	Served  uint64             // the newest tenure of a target
	Quorum  lease.Quorum
	Timing  cluster.Timing
}

// same says whether two wishes say the same.
func (w wish) same(o wish) bool {
	return w.Own == o.Own && w.Exists == o.Exists && w.Prev == o.Prev && w.Mine == o.Mine && w.Hush == o.Hush && w.Waits == o.Waits && w.Serving == o.Serving &&
		w.Stand == o.Stand && w.Park == o.Park && w.Leaving == o.Leaving && w.Sleeps == o.Sleeps && w.Heir == o.Heir && w.Served == o.Served && w.Timing == o.Timing &&
		w.Quorum.Config == o.Quorum.Config &&
		slices.Equal(w.Quorum.Voters, o.Quorum.Voters) &&
		slices.EqualFunc(w.Cards, o.Cards, func(a, b net.HardwareAddr) bool { return bytes.Equal(a, b) }) &&
		w.Service.Name == o.Service.Name && sameService(w.Service, o.Service)
}

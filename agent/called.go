package agent

import (
	"time"

	"nightporter/cluster"
	"nightporter/lease"
)

// call is the leader's word that this host is about to get a service (see usher).
type call struct {
	epoch uint64
	from  string
	until lease.Boot // the record has not changed by then: it does not come any more
	said  bool       // that this host is prepared, since the call was last heard
}

// callLasts is how long an identity stays prepared for a call. The leader repeats it until it is answered, and then changes the record.
const callLasts = 5 * time.Second

// called takes such a call.
func (t *tenant) called(from string, epoch uint64) {
	if epoch <= t.wish.Own.Epoch || epoch < t.call.epoch {
		return // it comes late
	}
	t.call = call{epoch: epoch, from: from, until: t.clock.Boot().Add(callLasts)}
}

// stands says whether this host is to be prepared behind the closed fence, though it does not have the service.
func (t *tenant) stands(now lease.Boot) bool {
	return t.wish.Exists && (t.wish.Stand || now < t.call.until)
}

// sayStands answers the call. A host that could not open what it gets says nothing yet: its owner serves on meanwhile, and once the record
// is changed it would be taken from an heir who does not open it within a lease.
func (t *tenant) sayStands() {
	if t.call.epoch == 0 || t.call.said || t.wish.Waits {
		return
	}
	t.call.said = true
	what := cluster.Tenure{Service: t.service, Epoch: t.call.epoch}
	if t.call.from == t.self {
		t.out.stands(what)
		return
	}
	t.out.send(t.call.from, cluster.Message{Stands: []cluster.Tenure{what}})
}

package agent

import (
	"slices"
	"time"

	"nightporter/cluster"
	"nightporter/lease"
	"nightporter/wake"
)

// reporting is a target's report of its connections to the front that takes the identity over: what a client says on one of
// them wakes this host, and keepalives do not.
type reporting struct {
	reports []cluster.Flows
	to      string
	until   lease.Boot
	nextAt  lease.Boot
}

const (
	// flowsInOne is how many connections one message tells of: about 90 bytes each.
	flowsInOne = 60
	// The report is repeated until the front has acknowledged all of it. A host that is to sleep waits for that, so long.
	reportEvery = 40 * time.Millisecond
	reportFor   = 2 * time.Second
)

// reportFlows begins the report, after the fence was closed: from then on the numbers stand still.
func (t *tenant) reportFlows(now lease.Boot) {
	heir := t.wish.Own.Owner
	if heir == "" || heir == t.self || slices.Contains(t.wish.Service.Targets, heir) {
		return // a target has connections of its own
	}
	of, epoch := t.self, t.epoch
	var flows []wake.Flow
	if t.wish.Serving {
		var err error
		flows, err = t.reach.Established(t.wish.Service.Addresses)
		t.lookForWaiting()
		if err != nil {
			t.log.Warn("the connections to the service are not known to the front: what clients say on them wakes nobody", "service", t.service, "err", err)
			return
		}
		if len(flows) > 0 {
			t.log.Info("connections stay while this host sleeps", "service", t.service, "count", len(flows))
		}
	} else {
		t.kept.take(func(k *kept) { flows, of, epoch = k.flows.Flows(), k.of, k.since })
	}
	t.report = reporting{reports: reportsOf(t.service, of, epoch, flows), to: heir, until: now.Add(reportFor)}
	t.sendReport(now)
}

// reportsOf cuts a list into messages. Each names how many there are in all, so that the receiver knows when it has them.
func reportsOf(service, of string, epoch uint64, flows []wake.Flow) []cluster.Flows {
	var out []cluster.Flows
	for part := range slices.Chunk(flows, flowsInOne) {
		one := cluster.Flows{Service: service, Target: of, Epoch: epoch, Total: len(flows)}
		for _, f := range part {
			one.Flows = append(one.Flows, cluster.Flow(f))
		}
		out = append(out, one)
	}
	return out
}

// sendReport sends it to everybody the first time: any survivor may become the front. Then to the front alone.
func (t *tenant) sendReport(now lease.Boot) {
	first := t.report.nextAt == 0
	t.report.nextAt = now.Add(reportEvery)
	for _, one := range t.report.reports {
		if first {
			t.out.all(cluster.Message{Flows: []cluster.Flows{one}})
		} else {
			t.out.send(t.report.to, cluster.Message{Flows: []cluster.Flows{one}})
		}
	}
}

// keepReport repeats the report while it is owed.
func (t *tenant) keepReport(now lease.Boot) {
	switch {
	case len(t.report.reports) == 0 || now < t.report.nextAt:
	case now >= t.report.until || t.epoch != 0:
		t.report = reporting{}
	default:
		t.sendReport(now)
	}
}

// reported is the front's word that it knows all.
func (t *tenant) reported(from string, x cluster.Tenure) {
	if r := t.report.reports; len(r) > 0 && from == t.report.to && x.Epoch == r[0].Epoch {
		t.report = reporting{}
	}
}

// learnFlows takes a part of a target's report in.
func (t *tenant) learnFlows(from string, f cluster.Flows) {
	if !slices.Contains(t.wish.Service.Targets, f.Target) || t.self == f.Target {
		return
	}
	complete := false
	t.kept.take(func(k *kept) {
		if k.of == f.Target && k.since > f.Epoch {
			return // an old one
		}
		if k.of != f.Target || k.since != f.Epoch {
			k.flows.Forget()
			k.of, k.since = f.Target, f.Epoch
		}
		flows := make([]wake.Flow, len(f.Flows))
		for i, one := range f.Flows {
			flows[i] = wake.Flow(one)
		}
		k.flows.Learn(flows)
		complete = k.flows.Len() >= min(f.Total, wake.ParkedMost)
	})
	if complete {
		t.out.send(from, cluster.Message{FlowsKnown: []cluster.Tenure{{Service: t.service, Epoch: f.Epoch}}})
	}
}

// flowsAreBack forgets connections whose target holds the identity again, or another one in its place: they are its own business.
func (t *tenant) flowsAreBack() {
	if slices.Contains(t.wish.Service.Targets, t.wish.Own.Owner) {
		t.kept.take(func(k *kept) { k.flows.Forget() })
	}
}

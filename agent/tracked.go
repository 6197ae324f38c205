package agent

import (
	"slices"
	"time"

	"nightporter/idle"
	"nightporter/lease"
)

// trackEvery is the pause between two looks at connection tracking: each one lists its whole table, which on a host with many containers, or
// on a router, is long. A connection that ends stays in it for 10 s or more.
const trackEvery = 5 * time.Second

// tracked is what connection tracking said last.
type tracked struct {
	at    lease.Boot // 0 = never
	flows []idle.Conn
}

// track gives the connections that go on to containers. They are listed anew for a wake that is new, for one that is about to be found
// spurious, and else once in a while.
func (j *verdicts) track(now lease.Boot) ([]idle.Conn, error) {
	fresh := j.tracked.at == 0 || now.Sub(j.tracked.at) >= trackEvery
	for _, q := range j.under {
		fresh = fresh || q.before == nil || q.ripe(now)
	}
	if !fresh {
		return j.tracked.flows, nil
	}
	flows, err := j.uses.Translated()
	if err != nil {
		return nil, err
	}
	j.tracked = tracked{now, flows}
	for _, q := range j.under {
		if q.before == nil {
			q.mark(flows)
		}
	}
	return flows, nil
}

// mark notes what was carried when the inquiry began: connection tracking does not say when that was.
func (q *inquiry) mark(flows []idle.Conn) {
	q.before = make(map[idle.Conn]uint64)
	for _, f := range flows {
		q.before[ends(f)] = f.Received
	}
}

// after is what was carried since. Of what there was already when the client could have been here, nobody knows.
func (q *inquiry) after(flows []idle.Conn) []idle.Conn {
	flows = slices.Clone(flows)
	for i, f := range flows {
		was := q.before[ends(f)]
		if f.Received < was {
			continue // the client's port is in use anew
		}
		flows[i].Received -= was
		flows[i].Vague = f.Vague || q.late && was >= saidLeast
	}
	return flows
}

// ends is a connection by its two ends alone.
func ends(f idle.Conn) idle.Conn { return idle.Conn{Local: f.Local, Remote: f.Remote} }

// ripe says whether a client that has said nothing has had its time.
func (q *inquiry) ripe(now lease.Boot) bool { return q.served != 0 && now.Sub(q.served) >= q.patience }

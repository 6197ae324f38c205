package lease

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Table is all that a voter remembers, to be mirrored to tmpfs before each answer and given back to RestoreVoter after
// a restart of the daemon within the same boot.
type Table struct {
	// BootID and Offset (CLOCK_BOOTTIME minus CLOCK_MONOTONIC) are filled in by the caller that mirrors the table and
	// checked by the one that restores it: another boot's table is worthless, and a changed offset is a clock jump
	// that happened while nobody looked (Voter.ClockJumped).
	BootID string
	Offset time.Duration

	Since    Boot // every grant made after this instant is in the table
	Settled  bool // the wait of rule 1 is over: no grant made before Since can still run
	Services []Record
}

// Record is one service's part of a Table. Records are sorted by service, marks by node.
type Record struct {
	Service string
	Highest uint64 // highest epoch granted or seen released
	Entry   Entry  // its Service is the record's; Epoch 0 = nothing was ever granted
	Marks   []Mark
}

// Table gives a copy of all that the voter remembers. BootID and Offset are the caller's to fill in.
func (v *Voter) Table() Table {
	t := Table{Since: v.since, Settled: v.settled, Services: make([]Record, 0, len(v.services))}
	for name, l := range v.services {
		t.Services = append(t.Services, Record{
			Service: name, Highest: l.highest, Entry: l.entry, Marks: slices.Clone(l.marks),
		})
	}
	slices.SortFunc(t.Services, func(a, b Record) int { return cmp.Compare(a.Service, b.Service) })
	return t
}

// RestoreVoter starts a voter with the table that its former life on this boot left. If that life still waited for rule
// 1, so does this one, from the same instant: the table knows nothing of what came before it.
func RestoreVoter(id string, t Table) *Voter {
	v := &Voter{id: id, since: t.Since, settled: t.Settled, services: make(map[string]*ledger, len(t.Services))}
	for _, r := range t.Services {
		v.services[r.Service] = &ledger{entry: r.Entry, highest: r.Highest, marks: slices.Clone(r.Marks)}
	}
	return v
}

func (v *Voter) ledger(service string) *ledger {
	l := v.services[service]
	if l == nil {
		l = &ledger{}
		v.services[service] = l
	}
	return l
}

func (l *ledger) find(node string) (int, bool) {
	return slices.BinarySearchFunc(l.marks, node, func(m Mark, n string) int { return strings.Compare(m.Node, n) })
}

// mark gives the node's mark, which is made if there is none. The pointer holds until the next call.
func (l *ledger) mark(node string) *Mark {
	i, found := l.find(node)
	if !found {
		l.marks = slices.Insert(l.marks, i, Mark{Node: node})
	}
	return &l.marks[i]
}

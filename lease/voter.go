package lease

import (
	"time"

	"nightporter/internal/mutant"
)

// Facts are what the voter's host knows at the moment of a request and the voter itself does not keep.
type Facts struct {
	MaxTTL    time.Duration // a request above it is refused: the ttl this host has applied
	StartWait time.Duration // rule 1: the largest ttl that may have been granted before the restart
	Config    uint64        // rule 2: index of the newest configuration in this voter's log, committed or not
	Epoch     uint64        // rule 3: highest epoch of the asked service that this voter has applied, or has in its log behind that, committed or not
}

// Entry is one service's lease as this voter granted it. Expires and LastSeen are on the voter's CLOCK_BOOTTIME.
type Entry struct {
	Service     string
	Holder      string
	Epoch       uint64
	Incarnation uint64
	Expires     Boot
	Released    bool // given back: it excludes nobody, whatever Expires says
	LastSeen    Boot // the holder's last request, granted or refused: a sign of life
}

// Runs tells whether the entry still excludes others at now.
func (e Entry) Runs(now Boot) bool { return e.Epoch != 0 && !e.Released && now < e.Expires }

// Remaining is how long the entry still excludes others; 0 when it does not.
func (e Entry) Remaining(now Boot) time.Duration {
	if !e.Runs(now) {
		return 0
	}
	return e.Expires.Sub(now)
}

// Voter is one Raft voter's side of the leases of all services. It is not safe for concurrent use. After every call
// that returned true the caller mirrors Table() and only then sends the answer.
type Voter struct {
	id string
	// since: this voter knows every grant that it made after this instant. settled: the wait of rule 1 is over, so
	// that every grant made before since has run out; it is remembered, because a ttl that is raised later says
	// nothing about the grants of a former life.
	since    Boot
	settled  bool
	services map[string]*ledger
}

// ledger is all that a voter remembers of one service. highest only rises (rule 3, I9).
type ledger struct {
	entry   Entry
	highest uint64 // highest epoch granted or seen released
	marks   []Mark // one per node, sorted by name
}

// Mark is what a voter remembers of one node's messages about one service.
type Mark struct {
	Node             string
	Incarnation, Seq uint64 // the newest request or release; an older one is ignored
	LastSeen         Boot   // last request on the voter's clock; meaningful when Asked
	Asked            bool
	ReleasedEpoch    uint64 // the last release that was carried out; 0 = none. It is acknowledged again when doubled.
	ReleasedInc      uint64
	ReleasedSeq      uint64
}

// NewVoter starts a voter that remembers nothing, at the instant at which its daemon started.
func NewVoter(id string, started Boot) *Voter {
	return &Voter{id: id, since: started, services: map[string]*ledger{}}
}

// Ready tells whether rule 1 lets this voter grant at now.
func (v *Voter) Ready(now Boot, startWait time.Duration) bool {
	return v.settled || now.Sub(v.since) >= startWait || mutant.On(mutant.NoAmnesiaWait) // breaks I1
}

// Request judges a request by the rules in their order, after carrying out the release that it brings along. False means
// that it is ignored and not answered: it is malformed, or not newer than what this voter has seen of that node.
func (v *Voter) Request(now Boot, f Facts, r Request) (Answer, bool) {
	if r.Service == "" || r.Node == "" || r.Epoch == 0 || r.Seq == 0 || r.TTL <= 0 {
		return Answer{}, false
	}
	l := v.ledger(r.Service)
	m := l.mark(r.Node)
	if r.Incarnation == m.Incarnation && r.Seq <= m.Seq {
		return Answer{}, false
	}
	if p := r.Prior; p != nil && p.Service == r.Service && p.Node != r.Node {
		v.Release(now, *p)
		m = l.mark(r.Node) // the release may have added a mark, which moves the others
	}
	late := r.Incarnation < m.Incarnation
	if !late {
		m.Incarnation, m.Seq, m.LastSeen, m.Asked = r.Incarnation, r.Seq, now, true
		if l.entry.Holder == r.Node {
			l.entry.LastSeen = now
		}
	}
	a := Answer{
		Voter: v.id, Service: r.Service, Epoch: r.Epoch, Node: r.Node, Incarnation: r.Incarnation, Seq: r.Seq,
	}
	v.judge(now, f, r, l, late, &a)
	if a.Refusal == Granted {
		l.grant(now, r)
	}
	return a, true
}

// judge fills in the refusal and what is left of the reason for it. late: a message of an earlier incarnation.
func (v *Voter) judge(now Boot, f Facts, r Request, l *ledger, late bool, a *Answer) {
	wait := max(f.StartWait, r.TTL)
	switch e := l.entry; {
	case r.TTL > f.MaxTTL:
		a.Refusal = TTLTooLong
	case !v.Ready(now, wait):
		a.Refusal, a.Remaining = Amnesia, wait-now.Sub(v.since)
	case r.Config < f.Config && !mutant.On(mutant.NoRule2): // breaks I1
		a.Refusal = OldConfig
	case r.Epoch < max(l.highest, f.Epoch) && !mutant.On(mutant.KeepsOn): // breaks I1 and I9
		a.Refusal = OldEpoch
	case e.Runs(now) && e.Holder != r.Node && !mutant.On(mutant.KeepsOn):
		a.Refusal = HeldByOther
	case late || e.Runs(now) && e.Incarnation > r.Incarnation:
		a.Refusal = OldIncarnation
	}
	if l.entry.Runs(now) && a.Refusal != Granted && a.Refusal != Amnesia {
		a.Holder, a.Remaining = l.entry.Holder, l.entry.Remaining(now)
	}
	if a.Refusal != TTLTooLong && a.Refusal != Amnesia {
		v.settled = true
	}
}

// grant writes the entry. A node's own entry never gets shorter: a request with a smaller ttl that finds no majority
// leaves the fence at the deadline of an earlier round, which this entry must outlive (I1).
func (l *ledger) grant(now Boot, r Request) {
	expires := now.Add(r.TTL)
	if l.entry.Holder == r.Node && l.entry.Runs(now) {
		expires = max(expires, l.entry.Expires)
	}
	l.entry = Entry{
		Service: r.Service, Holder: r.Node, Epoch: r.Epoch, Incarnation: r.Incarnation,
		Expires: expires, LastSeen: now,
	}
	l.highest = max(l.highest, r.Epoch)
}

// Release clears the entry that it names: one of that node, with that very epoch and no later incarnation. The epoch
// counts as released (rule 3) even where there was no such entry. False means ignored: malformed, or older than what was
// seen of that node. The very release that was carried out last is acknowledged again.
func (v *Voter) Release(now Boot, r Release) (Ack, bool) {
	if r.Service == "" || r.Node == "" || r.Epoch == 0 || r.Seq == 0 {
		return Ack{}, false
	}
	ack := Ack{Voter: v.id, Service: r.Service, Epoch: r.Epoch, Node: r.Node, Incarnation: r.Incarnation, Seq: r.Seq}
	l := v.ledger(r.Service)
	m := l.mark(r.Node)
	if r.Epoch == m.ReleasedEpoch && r.Incarnation == m.ReleasedInc && r.Seq == m.ReleasedSeq {
		return ack, true
	}
	old := r.Incarnation < m.Incarnation || r.Incarnation == m.Incarnation && r.Seq <= m.Seq
	if old && !mutant.On(mutant.ReleaseAnyEpoch) { // else it would stop most of what that mutant lets through
		return Ack{}, false
	}
	m.Incarnation, m.Seq = r.Incarnation, r.Seq
	m.ReleasedEpoch, m.ReleasedInc, m.ReleasedSeq = r.Epoch, r.Incarnation, r.Seq
	l.highest = max(l.highest, r.Epoch)
	if e := &l.entry; e.Holder == r.Node && (e.Epoch == r.Epoch || mutant.On(mutant.ReleaseAnyEpoch)) && e.Incarnation <= r.Incarnation { // breaks I1
		e.Released, e.Expires = true, min(e.Expires, now)
	}
	return ack, true
}

// ClockJumped says that CLOCK_BOOTTIME may have been set wrong by up to extra (a resume from suspend whose length came
// from an RTC of whole seconds), or ran ahead by extra (Ruler). Everything that is waited for waits that much longer. To be called before any message is
// handed in on the new clock.
func (v *Voter) ClockJumped(extra time.Duration) {
	if !v.settled {
		v.since = v.since.Add(extra)
	}
	for _, l := range v.services {
		if l.entry.Epoch != 0 && !l.entry.Released {
			l.entry.Expires = l.entry.Expires.Add(extra)
		}
	}
}

// unwatchedParts: a clock that nobody watched may have gained a fourth of what it shows to have passed: ADJ_TICK bends by 10 %, and
// ADJ_OFFSET by a fourth of at most half a second in a second, which is 12.5 %.
const unwatchedParts = 4

// ClockUnwatched says that nobody saw how CLOCK_BOOTTIME was bent since the table was written that this voter began with. What it
// waits for waits longer by the most that the clock may have run ahead since the voter last looked at it.
func (v *Voter) ClockUnwatched(now Boot) {
	if !v.settled {
		v.since = v.since.Add(max(now.Sub(v.since), 0) / unwatchedParts)
	}
	for _, l := range v.services {
		e := &l.entry
		shown := max(now.Sub(e.LastSeen), 0)
		if e.Epoch == 0 || e.Released || shown-shown/unwatchedParts >= e.Expires.Sub(e.LastSeen) {
			continue // over, however the clock ran: nothing may bring that back
		}
		e.Expires = e.Expires.Add(shown / unwatchedParts)
	}
}

// Entries gives a copy of the newest entry of each service, running or not (see Entry.Runs).
func (v *Voter) Entries() map[string]Entry {
	all := make(map[string]Entry, len(v.services))
	for name, l := range v.services {
		if l.entry.Epoch != 0 {
			all[name] = l.entry
		}
	}
	return all
}

// LastSeen tells when the newest request of node for service arrived, granted or refused; false: never.
func (v *Voter) LastSeen(service, node string) (Boot, bool) {
	l := v.services[service]
	if l == nil {
		return 0, false
	}
	i, found := l.find(node)
	if !found || !l.marks[i].Asked {
		return 0, false
	}
	return l.marks[i].LastSeen, true
}

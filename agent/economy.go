package agent

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/fsm"
	"nightporter/wake"
)

// economy says whose demand may wake somebody: not sources that a service denies, nor those that have used up their budget of wakes for
// nothing. What it knows of wakes is what the log's ledger says, of whichever front began them, and those that have just begun here. It is
// asked for each packet of a flood: a few look-ups, and no memory but for a bounded number of lines.
type economy struct {
	mu     sync.Mutex
	state  *fsm.State // that was taken in last
	ledger *fsm.Wake  // the first of its wakes, which tells whether they are others
	judged bool       // all members can read verdicts; before that budgets would be used up by everybody
	budget wake.Budget
	seen   map[string]bool // by ID of a wake in the ledger: whether it was settled
	lines  map[lineKey]*line
	log    *slog.Logger // set before the first question

	lan    func() []netip.Prefix // the networks that this host is in; nil: it is in none
	looked time.Duration         // when it was asked last; the waking loop's own
	forgot time.Duration         // when old lines were forgotten last
}

// lineLasts is for how long a line is kept after its last attempt: their number is bounded, and the newest have to have room.
const lineLasts = 24 * time.Hour

// lanEvery is how often this host's networks are looked at.
const lanEvery = time.Minute

type lineKey struct {
	service string
	source  netip.Prefix // the zero one: of all that have no line
	why     string
}

// line counts attempts that woke nobody.
type line struct {
	protocol    string
	port        uint16
	count       uint64
	first, last time.Duration
}

// linesMost bounds the lines. Sources beyond it are counted together.
const linesMost = 256

// Why an attempt may wake nobody.
const (
	denied        = "denied"
	overBudget    = "over-budget"
	overBudgetAll = "over-budget-all"
)

func allowance(sv fsm.Service) wake.Allowance {
	source, all := sv.Wake.Limited()
	return wake.Allowance{Source: source, All: all}
}

// lets says whether an attempt may wake somebody, and counts it if not. calling: somebody is being woken for the service already, and what it
// adds to that costs nobody anything.
func (e *economy) lets(now time.Duration, wall time.Time, state *fsm.State, d wake.Demand, calling bool) bool {
	sv := state.Services[d.Service]
	e.mu.Lock()
	defer e.mu.Unlock()
	source := e.budget.Source(d.Client.Addr())
	why := ""
	switch {
	case !(wake.Admission{Allow: sv.Wake.Allow, Deny: sv.Wake.Deny}).Wakes(d.Client.Addr()):
		why = denied
	case calling || d.Node != "": // a connection that was made says something: that is no scanner
	default:
		e.absorb(now, wall, state)
		if a := allowance(sv); e.judged && !e.budget.May(now, d.Service, source, a) {
			why = overBudget
			if a.All = wake.Unlimited; e.budget.May(now, d.Service, source, a) {
				why = overBudgetAll
			}
		}
	}
	if why != "" {
		e.count(now, lineKey{d.Service, source, why}, d)
	}
	return why == ""
}

// learn takes the log's ledger in as soon as it is there, so that the next packet need not wait for that.
func (e *economy) learn(now time.Duration, wall time.Time, state *fsm.State) {
	var near []netip.Prefix
	look := e.lan != nil && (e.looked == 0 || now-e.looked >= lanEvery)
	if look {
		near = e.lan()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if look {
		e.looked = now
		e.budget.Near(near)
	}
	if now-e.forgot >= lanEvery {
		e.forgot = now
		maps.DeleteFunc(e.lines, func(_ lineKey, l *line) bool { return now-l.last >= lineLasts })
	}
	e.absorb(now, wall, state)
}

// began books a wake that begins here, before the log has it.
func (e *economy) began(now time.Duration, k wake.Wake, sv fsm.Service) {
	client, err := netip.ParseAddrPort(k.Client)
	if err != nil {
		return // nobody's
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.budget.Charge(now, k.ID, k.Service, e.budget.Source(client.Addr()), allowance(sv))
}

// spared gives back what was booked for a wake that was not necessary.
func (e *economy) spared(k wake.Wake, sv fsm.Service) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.budget.Settle(k.ID, wake.Paid, allowance(sv))
}

// absorb takes in what the log says of wakes, if that is news. The caller holds mu.
func (e *economy) absorb(now time.Duration, wall time.Time, state *fsm.State) {
	if e.state == state {
		return
	}
	e.state, e.judged = state, true
	for _, n := range state.Nodes {
		e.judged = e.judged && n.Format >= fsm.FormatOf(fsm.JudgeWake{})
	}
	if len(state.Wakes) == 0 || e.ledger == &state.Wakes[0] {
		return
	}
	e.ledger = &state.Wakes[0]
	good, seen := make(map[netip.Prefix]bool), make(map[string]bool, len(state.Wakes))
	for _, k := range state.Wakes {
		if k.Cause != fsm.Demand {
			continue
		}
		client, err := netip.ParseAddrPort(k.Client)
		if err != nil {
			continue
		}
		source, a := e.budget.Source(client.Addr()), allowance(state.Services[k.Service])
		if k.Verdict == fsm.Useful {
			good[source] = true
		}
		if !e.seen[k.ID] {
			e.budget.Charge(now-max(wall.Sub(k.Started), 0), k.ID, k.Service, source, a)
		}
		outcome, over := outcomeOf(k)
		if over && !e.seen[k.ID] {
			e.budget.Settle(k.ID, outcome, a)
		}
		seen[k.ID] = over
	}
	e.seen = seen
	e.budget.Know(good)
}

// outcomeOf is what a wake on record came to; false: that is not known yet.
func outcomeOf(k fsm.Wake) (wake.Outcome, bool) {
	switch k.Verdict {
	case fsm.Useful, fsm.Failed:
		return wake.Paid, true
	case fsm.Spurious:
		return wake.Wasted, true
	case fsm.Unknown:
		return wake.Unclear, true
	}
	return wake.Paid, k.Result == fsm.GaveUp
}

// count adds to a line. The caller holds mu.
func (e *economy) count(now time.Duration, key lineKey, d wake.Demand) {
	l := e.lines[key]
	if l == nil && len(e.lines) >= linesMost {
		key.source = netip.Prefix{}
		l = e.lines[key]
	}
	if l == nil {
		if e.lines == nil {
			e.lines = make(map[lineKey]*line)
		}
		l = &line{first: now}
		e.lines[key] = l
		if e.log != nil {
			e.log.Info("may wake nobody", "service", d.Service, "client", d.Client, "port", portName(d), "reason", key.why)
		}
	}
	l.protocol, l.port, l.last = d.Protocol, d.Dest.Port(), now
	l.count++
}

// refused lists the lines, the newest last.
func (e *economy) refused(now time.Duration, wall time.Time, self string) []api.Ignored {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := func(boot time.Duration) time.Time { return wall.Add(boot - now).Round(time.Millisecond).UTC() }
	out := []api.Ignored{}
	for key, l := range e.lines {
		out = append(out, api.Ignored{
			Service: key.service, Source: sourceName(key.source), Port: portName(wake.Demand{Protocol: l.protocol, Dest: netip.AddrPortFrom(netip.Addr{}, l.port)}),
			Why: key.why, Count: l.count, First: at(l.first), Last: at(l.last), By: self,
		})
	}
	slices.SortFunc(out, func(a, b api.Ignored) int {
		return cmp.Or(a.Last.Compare(b.Last), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Why, b.Why))
	})
	return out
}

// sourceName prints a source: an address where it is one.
func sourceName(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return ""
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

// recentRefusal is for how long a refusal stands among the problems.
const recentRefusal = time.Hour

// problems are sentences about those that have used up a budget, and knocked since.
func (e *economy) problems(now time.Duration) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sources, all := make(map[string]int), make(map[string]int)
	for key, l := range e.lines {
		switch {
		case now-l.last >= recentRefusal:
		case key.why == overBudget:
			sources[key.service]++
		case key.why == overBudgetAll:
			all[key.service]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		out = append(out, fmt.Sprintf("service %s: %s used up the budget of wakes for nothing and woke nobody since; see `nightporter wakes %s`", name, plural(sources[name], "source"), name))
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, fmt.Sprintf("service %s: %s outside of the LAN without a useful wake on record woke nobody, since others used up today's budget (budget_all); see `nightporter wakes %s`", name, plural(all[name], "source"), name))
	}
	return out
}

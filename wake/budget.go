package wake

import (
	"net/netip"
	"slices"
	"time"
)

// Allowance is how many wakes for nothing may be caused. Negative = any number.
type Allowance struct {
	Source int // by one source in an hour
	All    int // in a day, by all sources together that are neither near nor known for a useful wake
}

// Unlimited stands in an Allowance for any number.
const Unlimited = -1

// The times over which an Allowance is filled up again.
const (
	sourcePeriod = time.Hour
	allPeriod    = 24 * time.Hour
)

// Budget counts wakes against allowances. A wake is charged when it begins, and given back when it turns out to have been good for something:
// so what is under way counts as well. It is pure: time is passed in. The zero value is ready. Not safe for concurrent use.
//
// A source has an account only from its first wake on, and an account that is full again is forgotten. Since what strangers
// can do together is bounded (Allowance.All), so is the number of accounts: a flood from made-up addresses makes none.
type Budget struct {
	sources map[payer]*account
	all     map[string]*account // by service
	wakes   map[string]charge   // by ID: those that are charged, and not settled
	good    map[netip.Prefix]bool
	near    []netip.Prefix
	swept   time.Duration
}

type payer struct {
	service string
	source  netip.Prefix
}

// account is a token bucket as the time at which it will be full (GCRA, ITU-T I.371): each wake moves that by period/size.
type account struct {
	full  time.Duration
	open  int // wakes that are not settled
	begun time.Duration
}

type charge struct {
	payer
	all bool // it was charged to the service as well
}

// Outcome is what a wake came to.
type Outcome int

// The outcomes.
const (
	Wasted  Outcome = iota // for nothing: the charge stays
	Unclear                // nobody can tell: the source has its back, the service has not
	Paid                   // it was good for something, or it was not the client's fault: all is given back
)

// openFor is how long a wake counts as under way at most. It is longer than any wake takes, with the time in which it is judged.
const openFor = 15 * time.Minute

// May says whether a source's demand may wake a target of a service: it has something left, or a wake of its own is under way, to which its
// repetitions belong. A target that sleeps again before its wakes are judged is woken again for these, but not for more of them than the
// allowance of an hour has. It changes nothing and takes no memory.
func (b *Budget) May(now time.Duration, service string, source netip.Prefix, a Allowance) bool {
	p := b.sources[payer{service, source}]
	if p != nil && p.open > 0 && p.open <= max(a.Source, 1) && now-p.begun < openFor {
		return true
	}
	if a.Source >= 0 && !p.room(now, a.Source, sourcePeriod) {
		return false
	}
	return a.All < 0 || b.trusts(source) || b.all[service].room(now, a.All, allPeriod)
}

// room says whether there is one token.
func (a *account) room(now time.Duration, size int, period time.Duration) bool {
	if size == 0 {
		return false
	}
	return a == nil || max(a.full, now)+period/time.Duration(size) <= now+period
}

// Charge books a wake that began at a time. Repeating it changes nothing.
func (b *Budget) Charge(at time.Duration, id, service string, source netip.Prefix, a Allowance) {
	if _, known := b.wakes[id]; known || !source.IsValid() {
		return
	}
	if b.wakes == nil {
		b.wakes, b.sources, b.all = make(map[string]charge), make(map[payer]*account), make(map[string]*account)
	}
	b.sweep(at)
	c := charge{payer{service, source}, !b.trusts(source)}
	b.wakes[id] = c
	p := b.sources[c.payer]
	if p == nil {
		p = &account{}
		b.sources[c.payer] = p
	}
	if at-p.begun >= openFor {
		p.open = 0 // nobody will judge those any more
	}
	p.open, p.begun = p.open+1, at
	p.pay(at, a.Source, sourcePeriod)
	if c.all {
		if b.all[service] == nil {
			b.all[service] = &account{}
		}
		b.all[service].pay(at, a.All, allPeriod)
	}
}

func (a *account) pay(at time.Duration, size int, period time.Duration) {
	if size > 0 {
		a.full = max(a.full, at) + period/time.Duration(size)
	}
}

func (a *account) refund(size int, period time.Duration) {
	if a != nil && size > 0 {
		a.full -= period / time.Duration(size)
	}
}

// Settle ends a wake. A second time changes nothing.
func (b *Budget) Settle(id string, o Outcome, a Allowance) {
	c, known := b.wakes[id]
	if !known {
		return
	}
	delete(b.wakes, id)
	if p := b.sources[c.payer]; p != nil {
		p.open = max(0, p.open-1)
		if o != Wasted {
			p.refund(a.Source, sourcePeriod)
		}
	}
	if c.all && o == Paid {
		b.all[c.service].refund(a.All, allPeriod)
	}
}

// Know notes the sources that have a useful wake on record.
func (b *Budget) Know(good map[netip.Prefix]bool) { b.good = good }

// Near notes the networks that this host is in. A flood with made-up addresses of these comes from within, and who is there can wake everybody
// with a magic packet of his own: they have their own budgets alone.
func (b *Budget) Near(networks []netip.Prefix) { b.near = networks }

// Source is what an address is counted by. In the networks that this host is in, and on the link itself, all of IPv6 shares a /64: there each
// address counts for itself.
func (b *Budget) Source(a netip.Addr) netip.Prefix {
	source := Source(a)
	if a = a.Unmap().WithZone(""); a.Is6() && b.isNear(a) {
		source = netip.PrefixFrom(a, 128)
	}
	return source
}

func (b *Budget) isNear(a netip.Addr) bool {
	return a.IsLinkLocalUnicast() || slices.ContainsFunc(b.near, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (b *Budget) trusts(source netip.Prefix) bool {
	return b.good[source] || b.isNear(source.Addr())
}

// sweepEvery is the pause between two looks for accounts that are full again.
const sweepEvery = 10 * time.Minute

func (b *Budget) sweep(now time.Duration) {
	if now-b.swept < sweepEvery {
		return
	}
	b.swept = now
	for p, a := range b.sources {
		if a.full <= now && (a.open == 0 || now-a.begun >= openFor) {
			delete(b.sources, p)
		}
	}
	for id, c := range b.wakes { // nobody will judge these any more
		if b.sources[c.payer] == nil {
			delete(b.wakes, id)
		}
	}
}

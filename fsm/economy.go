package fsm

import (
	"net/netip"
	"slices"
	"time"
)

// WakeRules say whose demand wakes a service's targets, and how often. The zero value lets everybody, with the default budgets.
type WakeRules struct {
	Allow []netip.Prefix `json:"allow,omitempty"` // only sources in one of these wake; none = all sources
	Deny  []netip.Prefix `json:"deny,omitempty"`  // sources in one of these never do, whatever Allow says
	// Budget is how many wakes that turn out to have been for nothing one source may cause in an hour: 0 = BudgetDefault, NoLimit = any number.
	Budget int `json:"budget,omitempty"`
	// BudgetAll is how many all sources together may cause in a day that are not in the front's own networks and have no useful wake on record: 0 = BudgetAllDefault, NoLimit = any number.
	BudgetAll int `json:"budget_all,omitempty"`
	// AsleepAtLeast is how long a target that fell asleep is left asleep, whoever knocks.
	AsleepAtLeast time.Duration `json:"asleep_at_least,omitempty"`
}

// Defaults and ranges of the rules, and of the cap on simultaneous wakes.
const (
	NoLimit          = -1
	BudgetDefault    = 3 // a client that gave up three times in an hour is no client
	BudgetMax        = 3600
	BudgetAllDefault = 12 // with 15 minutes awake for each, three hours of a day
	BudgetAllMax     = 100000
	AsleepMost       = time.Hour
	MaxSources       = 64 // in each list: they are looked through for each attempt
	InrushDefault    = 4  // hosts that start at one time: what a usual household circuit takes, and few clusters have more that sleep
	InrushMax        = 1000
)

// Limited gives the budgets in force; NoLimit stays.
func (r WakeRules) Limited() (source, all int) {
	source, all = r.Budget, r.BudgetAll
	if source == 0 {
		source = BudgetDefault
	}
	if all == 0 {
		all = BudgetAllDefault
	}
	return source, all
}

func (r WakeRules) equal(o WakeRules) bool {
	return slices.Equal(r.Allow, o.Allow) && slices.Equal(r.Deny, o.Deny) && r.Budget == o.Budget && r.BudgetAll == o.BudgetAll && r.AsleepAtLeast == o.AsleepAtLeast
}

// Same says whether two rules are the same.
func (r WakeRules) Same(o WakeRules) bool { return r.equal(o) }

// zero says whether they say nothing.
func (r WakeRules) zero() bool { return r.equal(WakeRules{}) }

func (r WakeRules) clone() WakeRules {
	r.Allow, r.Deny = slices.Clone(r.Allow), slices.Clone(r.Deny)
	return r
}

func validateWake(r WakeRules, add func(string, ...any)) {
	for _, list := range []struct {
		name string
		of   []netip.Prefix
	}{{"allow", r.Allow}, {"deny", r.Deny}} {
		if n := len(list.of); n > MaxSources {
			add("wake %s lists %d sources, not at most %d: write them as networks", list.name, n, MaxSources)
		}
		for _, p := range list.of {
			switch {
			case !p.IsValid():
				add("wake %s has something that is no network: write one like 192.0.2.0/24", list.name)
			case p != p.Masked():
				add("wake %s has %s, which is an address within a network: write %s", list.name, p, p.Masked())
			case p.Addr().Is4In6():
				add("wake %s has %s, an IPv4 network in IPv6 clothes: write it as IPv4", list.name, p)
			}
		}
	}
	if r.Budget < NoLimit || r.Budget > BudgetMax {
		add("wake budget %d is out of range: choose 1 to %d wakes in an hour, or %d for no limit", r.Budget, BudgetMax, NoLimit)
	}
	if r.BudgetAll < NoLimit || r.BudgetAll > BudgetAllMax {
		add("wake budget_all %d is out of range: choose 1 to %d wakes in a day, or %d for no limit", r.BudgetAll, BudgetAllMax, NoLimit)
	}
	if r.AsleepAtLeast < 0 || r.AsleepAtLeast > AsleepMost {
		add("wake asleep_at_least %s is out of range: choose 0s to %s", r.AsleepAtLeast, AsleepMost)
	}
}

// SetInrush changes how many hosts may be woken at one time for clients: NoLimit = any number, 0 = InrushDefault.
type SetInrush struct {
	Limit int       `json:"limit"`
	At    time.Time `json:"at"`
	By    string    `json:"by"`
}

func (SetInrush) kind() Kind { return KindSetInrush }

func setInrush(s *State, c SetInrush) (*State, Result) {
	if c.Limit < NoLimit || c.Limit > InrushMax {
		return refuse(s, Invalid, "%d hosts that are woken at one time are out of range: choose 1 to %d, or 0 for no limit", c.Limit, InrushMax)
	}
	if s.Inrush == c.Limit {
		return s, Result{}
	}
	next := *s
	next.Inrush = c.Limit
	return &next, Result{}
}

// InrushLimit is the cap in force; 0 = none.
func (s *State) InrushLimit() int {
	switch s.Inrush {
	case 0:
		return InrushDefault
	case NoLimit:
		return 0
	}
	return s.Inrush
}

package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// WakeRules say whose demand wakes a service's targets, and how often.
type WakeRules struct {
	Allow         []netip.Prefix // only these sources; none = all
	Deny          []netip.Prefix // never these, whatever Allow says
	Budget        int            // wakes for nothing by one source in an hour: 0 = the default, NoLimit = any number
	BudgetAll     int            // by all sources together in a day, but neighbours and those that have a useful wake on record: 0 = the default, NoLimit
	AsleepAtLeast time.Duration  // a target that fell asleep is left asleep for so long, whoever knocks
}

// Defaults and ranges of these rules. The state machine has the same.
const (
	NoLimit          = -1
	BudgetDefault    = 3
	BudgetAllDefault = 12
	budgetMax        = 3600
	budgetAllMax     = 100000
	asleepMost       = time.Hour
	sourcesMost      = 64
)

// Watts is what a host draws, for the report of the energy that was saved.
type Watts struct{ Awake, Asleep float64 }

const wattsMost = 10000

// wakeRules reads what stands under wake in a service.
func (r *reader) wakeRules(n ast.Node) WakeRules {
	var w WakeRules
	sources := func(to *[]netip.Prefix) func(place, ast.Node) {
		return func(at place, n ast.Node) {
			for _, p := range r.prefixes(n) {
				*to = append(*to, p.Masked())
			}
			if len(*to) > sourcesMost {
				r.problem(at, "%d sources are more than the %d that are looked through for each attempt; write them as networks", len(*to), sourcesMost)
			}
		}
	}
	if _, ok := r.plain(n).(ast.MapNode); !ok {
		r.problem(placeOf(n), "wake of a service says who wakes its targets; write it like {deny: [192.0.2.9], budget: 3}")
		return w
	}
	r.mapping(n, "wake", fields{
		"allow":      sources(&w.Allow),
		"deny":       sources(&w.Deny),
		"budget":     func(_ place, n ast.Node) { w.Budget = r.budget(n, "a number of wakes in an hour", budgetMax) },
		"budget_all": func(_ place, n ast.Node) { w.BudgetAll = r.budget(n, "a number of wakes in a day", budgetAllMax) },
		"asleep_at_least": func(_ place, n ast.Node) {
			w.AsleepAtLeast = r.duration(n, 0, asleepMost).v
		},
	})
	return w
}

// budget reads a number, or off. The default is as if nothing were written.
func (r *reader) budget(n ast.Node, what string, most int) int {
	v := r.text(n, what+", or off")
	if !v.set {
		return 0
	}
	if v.v == "off" || v.v == "false" { // YAML 1.1 reads off as false
		return NoLimit
	}
	i, err := strconv.Atoi(v.v)
	if err != nil || i < 1 || i > most {
		r.problem(v.at, "%q is not %s; write a whole number from 1 to %d, or off for no limit", v.v, what, most)
		return 0
	}
	return i
}

// watts reads what a host draws.
func (r *reader) watts(n ast.Node) value[Watts] {
	at, before := placeOf(n), len(r.problems)
	var w Watts
	var has [2]bool
	one := func(to *float64, has *bool) func(place, ast.Node) {
		return func(_ place, n ast.Node) {
			v := r.text(n, "a number of watts")
			if !v.set {
				return
			}
			f, err := strconv.ParseFloat(v.v, 64)
			if err != nil || !(f >= 0 && f <= wattsMost) {
				r.problem(v.at, "%q is not a number of watts; write one from 0 to %d, without a unit", v.v, wattsMost)
				return
			}
			*to, *has = f, true
		}
	}
	if _, ok := r.plain(n).(ast.MapNode); !ok {
		r.problem(at, "watts says what a host draws awake and asleep; write it like {awake: 60, asleep: 2}")
		return value[Watts]{}
	}
	r.mapping(n, "watts", fields{"awake": one(&w.Awake, &has[0]), "asleep": one(&w.Asleep, &has[1])})
	switch {
	case len(r.problems) > before:
		return value[Watts]{}
	case !has[0] || !has[1]:
		r.problem(at, "watts needs both of awake and asleep; write it like {awake: 60, asleep: 2}")
		return value[Watts]{}
	case w.Asleep > w.Awake:
		r.problem(at, "a host that draws %g W asleep and %g W awake saves nothing by sleeping; are the two mixed up?", w.Asleep, w.Awake)
		return value[Watts]{}
	}
	return value[Watts]{w, at, true}
}

// wattsOf gives what is known of each host: its own entry goes before the top level.
func wattsOf(f file, self string) map[string]Watts {
	out := make(map[string]Watts)
	for _, n := range f.nodes {
		if w := first(n.watts, f.watts); w.set && n.name.set {
			out[n.name.v] = w.v
		}
	}
	if len(f.nodes) == 0 && f.watts.set {
		out[self] = f.watts.v
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// Format writes what stands after `wake:` in the file; "" = nothing does.
func (w WakeRules) Format() string {
	var parts []string
	list := func(name string, of []netip.Prefix) {
		if len(of) > 0 {
			parts = append(parts, fmt.Sprintf("%s: [%s]", name, strings.Join(mapped(of, func(p netip.Prefix) string { return strconv.Quote(p.String()) }), ", ")))
		}
	}
	number := func(name string, n, usual int) {
		switch n {
		case 0, usual:
		case NoLimit:
			parts = append(parts, name+": off")
		default:
			parts = append(parts, fmt.Sprintf("%s: %d", name, n))
		}
	}
	list("allow", w.Allow)
	list("deny", w.Deny)
	number("budget", w.Budget, BudgetDefault)
	number("budget_all", w.BudgetAll, BudgetAllDefault)
	if w.AsleepAtLeast > 0 {
		parts = append(parts, "asleep_at_least: "+w.AsleepAtLeast.String())
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

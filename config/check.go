package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Check is one question that tells whether a service answers on a target. Kind says which of the fields count.
type Check struct {
	Kind      string // tcp, http, exec, unit
	Port      uint16 // tcp, http
	Path      string // http
	Host      string // http: the Host header; "" = the address
	StatusMin int    // http
	StatusMax int    // http
	Name      string // exec: a file in the host's checks_dir; unit: a service unit
	Interval  time.Duration
	Timeout   time.Duration
	Rise      int // passes in a row until it counts as passing
	Fall      int // failures in a row until it counts as failing
}

// Unit is the systemd unit that runs a service. Manage: the agent starts and stops it with the identity.
type Unit struct {
	Name   string
	Manage bool
}

// Defaults and ranges of checks. The state machine has the same.
const (
	checkInterval, checkIntervalMin, checkIntervalMax = 2 * time.Second, 100 * time.Millisecond, 10 * time.Minute
	checkTimeout, checkTimeoutMin, checkTimeoutMax    = time.Second, 10 * time.Millisecond, time.Minute
	checkRise, checkFall, checkStreakMax              = 1, 3, 100
	statusMin, statusMax                              = 200, 399
	maxChecks                                         = 16
)

// defaultCheck has what stands in no file.
func defaultCheck() Check {
	return Check{Interval: checkInterval, Timeout: checkTimeout, Rise: checkRise, Fall: checkFall}
}

// checks reads the list under checks.
func (r *reader) checks(n ast.Node) []Check {
	var out []Check
	places := map[string]place{}
	if _, ok := r.plain(n).(ast.MapNode); ok {
		r.problem(placeOf(n), "checks must be a list; begin each check with `- tcp: 8080`, `- http: 8080/`, `- exec: NAME` or `- unit: NAME.service`")
		return nil
	}
	r.list(n, func(e ast.Node) {
		c, ok := r.check(e)
		if !ok {
			return
		}
		again(r, places, c.subject(), placeOf(e), "the check %s stands here a second time (first in line %d); keep one")
		if out = append(out, c); len(out) == maxChecks+1 {
			r.problem(placeOf(e), "more than %d checks; let one executable (exec) ask for several things", maxChecks)
		}
	})
	return out
}

// check reads one. False: something in it was wrong.
func (r *reader) check(n ast.Node) (Check, bool) {
	c, before := defaultCheck(), len(r.problems)
	kinds, http := 0, place{}
	kind := func(k string, read func(ast.Node)) func(place, ast.Node) {
		return func(at place, n ast.Node) {
			if kinds++; kinds > 1 {
				r.problem(at, "a check asks one thing, %s or %s; make two checks of it", c.Kind, k)
				return
			}
			c.Kind = k
			read(n)
		}
	}
	if _, ok := r.plain(n).(ast.MapNode); !ok {
		r.problem(placeOf(n), "a check says what it asks; write one like `tcp: 8080` or `http: 8080/health`")
		return c, false
	}
	r.mapping(n, "a check", fields{
		"tcp": kind("tcp", func(n ast.Node) { c.Port = uint16(r.integer(n, "a port number", 1, 65535).v) }),
		"http": kind("http", func(n ast.Node) {
			c.Port, c.Path = r.httpTarget(n)
			if c.StatusMin == 0 {
				c.StatusMin, c.StatusMax = statusMin, statusMax
			}
		}),
		"exec": kind("exec", func(n ast.Node) { c.Name = r.execName(n) }),
		"unit": kind("unit", func(n ast.Node) { c.Name = r.unitName(n) }),
		"status": func(at place, n ast.Node) {
			http = at
			c.StatusMin, c.StatusMax = r.statusRange(n)
		},
		"host":     func(at place, n ast.Node) { http, c.Host = at, r.hostHeader(n) },
		"interval": func(_ place, n ast.Node) { c.Interval = r.duration(n, checkIntervalMin, checkIntervalMax).v },
		"timeout":  func(_ place, n ast.Node) { c.Timeout = r.duration(n, checkTimeoutMin, checkTimeoutMax).v },
		"rise":     func(_ place, n ast.Node) { c.Rise = r.integer(n, "a number of passes", 1, checkStreakMax).v },
		"fall":     func(_ place, n ast.Node) { c.Fall = r.integer(n, "a number of failures", 1, checkStreakMax).v },
	})
	switch {
	case kinds == 0 && len(r.problems) == before:
		r.problem(placeOf(n), "this check asks nothing; add one of `tcp: 8080`, `http: 8080/health`, `exec: NAME` and `unit: NAME.service`")
	case http != (place{}) && c.Kind != "http" && len(r.problems) == before:
		r.problem(http, "status and host are for http checks, and this one is %s; take them out", c.Kind)
	}
	return c, len(r.problems) == before
}

// httpTarget reads 8080/health.
func (r *reader) httpTarget(n ast.Node) (uint16, string) {
	v := r.text(n, "a port and a path like 8080/health")
	if !v.set {
		return 0, ""
	}
	number, path, _ := strings.Cut(v.v, "/")
	port, err := strconv.Atoi(number)
	if err != nil || port < 1 || port > 65535 || len(path) > 511 || strings.ContainsFunc(path, unprintable) {
		r.problem(v.at, "%q is not what an http check asks for; write a port from 1 to 65535 and a path without spaces, like 8080/health (the address is always the service's)", v.v)
		return 0, ""
	}
	return uint16(port), "/" + path
}

func unprintable(c rune) bool { return c <= ' ' || c > '~' }

// statusRange reads 200 or 200-299.
func (r *reader) statusRange(n ast.Node) (least, most int) {
	v := r.text(n, "a status like 200 or a range like 200-299")
	if !v.set {
		return 0, 0
	}
	from, to, ranged := strings.Cut(v.v, "-")
	if !ranged {
		to = from
	}
	least, err := strconv.Atoi(strings.TrimSpace(from))
	most, err2 := strconv.Atoi(strings.TrimSpace(to))
	if err != nil || err2 != nil || least < 100 || most > 599 || least > most {
		r.problem(v.at, "%q is not a status of HTTP; write one like 200 or a range like 200-299, from 100 to 599", v.v)
		return 0, 0
	}
	return least, most
}

func (r *reader) hostHeader(n ast.Node) string {
	v := r.text(n, "a host's name like www.example.net")
	if v.set && (len(v.v) > 255 || strings.ContainsFunc(v.v, unprintable) || strings.ContainsAny(v.v, "/@")) {
		r.problem(v.at, "%q cannot stand in a Host header; write a name like www.example.net", v.v)
		return ""
	}
	return v.v
}

// execName reads the name of an executable. What runs as root on other hosts is never said by a file of this one.
func (r *reader) execName(n ast.Node) string {
	if _, list := r.plain(n).(*ast.SequenceNode); list {
		r.problem(placeOf(n), "a command is not run here: write the name of one executable in each host's checks_dir, without arguments")
		return ""
	}
	v := r.text(n, "the name of an executable in checks_dir")
	if v.set && (len(v.v) > 64 || v.v[0] == '.' || v.v[0] == '-' || !made(v.v, "-._")) {
		r.problem(v.at, "%q is not the name of an executable in checks_dir; use letters, digits, dots, dashes and underscores, at most 64, with no path and no arguments", v.v)
		return ""
	}
	return v.v
}

// wakeHook reads the same, or nothing at all.
func (r *reader) wakeHook(n ast.Node) value[string] {
	if s, ok := r.plain(n).(*ast.StringNode); ok && s.Value == "" {
		return value[string]{}
	}
	return value[string]{r.execName(n), placeOf(n), true}
}

func (r *reader) unitName(n ast.Node) string { return r.unitOf(n, "service", "web") }

// unitOf reads the name of a unit of some type.
func (r *reader) unitOf(n ast.Node, kind, example string) string {
	v := r.text(n, "a unit like "+example+"."+kind)
	if !v.set {
		return ""
	}
	base, ok := strings.CutSuffix(v.v, "."+kind)
	switch {
	case !ok && made(v.v, `-_@:\`):
		r.problem(v.at, "%q is not the name of a %s unit; write %s.%s", v.v, kind, v.v, kind)
	case !ok || base == "" || len(v.v) > 255 || base[0] == '-' || base[0] == '.' || !made(base, `-._@:\`):
		r.problem(v.at, "%q is not the name of a %s unit; write one like %s.%s", v.v, kind, example, kind)
	default:
		return v.v
	}
	return ""
}

// made says whether s consists of letters, digits and the characters of extra.
func made(s, extra string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(extra, c)
	})
}

// subject is what a check asks, as the file says it.
func (c Check) subject() string {
	switch c.Kind {
	case "tcp":
		return fmt.Sprintf("tcp: %d", c.Port)
	case "http":
		return fmt.Sprintf("http: %q", strconv.Itoa(int(c.Port))+c.Path)
	}
	return c.Kind + ": " + c.Name
}

// String writes it as the file has it; what is as by default stands in no file.
func (c Check) String() string {
	words, d := []string{c.subject()}, defaultCheck()
	if c.Kind == "http" && (c.StatusMin != statusMin || c.StatusMax != statusMax) {
		words = append(words, fmt.Sprintf("status: %d-%d", c.StatusMin, c.StatusMax))
	}
	if c.Host != "" {
		words = append(words, fmt.Sprintf("host: %q", c.Host))
	}
	if c.Interval != d.Interval {
		words = append(words, "interval: "+c.Interval.String())
	}
	if c.Timeout != d.Timeout {
		words = append(words, "timeout: "+c.Timeout.String())
	}
	if c.Rise != d.Rise {
		words = append(words, fmt.Sprintf("rise: %d", c.Rise))
	}
	if c.Fall != d.Fall {
		words = append(words, fmt.Sprintf("fall: %d", c.Fall))
	}
	return "{" + strings.Join(words, ", ") + "}"
}

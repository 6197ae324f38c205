package config

import (
	"math"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Users says which people keep a host awake.
type Users string

// The forms.
const (
	UsersLoggedIn Users = "logged-in" // whoever is logged in; at a desktop, if logind says that somebody is there
	UsersActive   Users = "active"    // whoever is logged in if logind says that somebody is there
	UsersOff      Users = "off"       // nobody
)

// StayAwake says what counts as use of a host that goes to sleep by itself, and when it is to be awake all the same.
type StayAwake struct {
	AtLeast    time.Duration  // after it came up; 0 = as long as idle
	Traffic    uint64         // bytes that a connection carries in a minute to count as used
	Ports      []Port         // of this host, beside those of its services
	IgnoreFrom []netip.Prefix // clients that do not count
	Users      Users
	IgnoreUser []string
	Inhibitors bool    // logind's
	Load       float64 // of the last minute; 0 = it does not count
	Network    uint64  // bytes in a second on the LAN interface; 0 = they do not count
	Processes  []string
	Units      []string
	Commands   []Busy // each says by status 0 that the host is in use
	Hooks      []string
	Schedule   []Span
	WakeAt     []Moment
	WakeTimers []string // systemd's timer units, which want the host awake when they elapse
	WakeAsk    []Busy   // each prints when the host is to be awake next
}

// Busy is a command that says whether the host is in use.
type Busy struct {
	Command []string
	Timeout time.Duration
}

// Defaults and ranges of what keeps a host awake.
const (
	idleMin, idleMax = time.Second, 7 * 24 * time.Hour
	idleQuick        = time.Minute // below it a host hardly does anything but going to sleep
	atLeastMax       = 24 * time.Hour
	defaultTraffic   = 4096
	defaultLoad      = 1
	defaultNetwork   = 100_000
	busyTimeout      = 5 * time.Second
	busyMin, busyMax = 100 * time.Millisecond, time.Minute
	maxBusy          = 16 // entries of each list of things that are asked
)

// DefaultStayAwake is what counts where the file says nothing.
func DefaultStayAwake() StayAwake {
	return StayAwake{Traffic: defaultTraffic, Users: UsersLoggedIn, Inhibitors: true, Load: defaultLoad, Network: defaultNetwork}
}

// idle reads a time, or off.
func (r *reader) idle(n ast.Node) value[time.Duration] {
	if word := scalar(r.plain(n)); word == "off" || word == "0" || word == "0s" {
		return value[time.Duration]{0, placeOf(n), true}
	}
	return r.duration(n, idleMin, idleMax)
}

// Range of the time after which a sleeping host looks after the others. Clocks of many PCs cannot be set further ahead than a day.
const (
	DefaultLookAfter           = 6 * time.Hour
	lookAfterMin, lookAfterMax = time.Second, 24 * time.Hour
)

// lookAfter reads a time, or off.
func (r *reader) lookAfter(n ast.Node) value[time.Duration] {
	if word := scalar(r.plain(n)); word == "off" || word == "0" || word == "0s" {
		return value[time.Duration]{0, placeOf(n), true}
	}
	return r.duration(n, lookAfterMin, lookAfterMax)
}

// scalar is the text of a single value, "" for anything else.
func scalar(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.BoolNode:
		return n.GetToken().Value
	}
	return ""
}

// stayAwake reads the mapping.
func (r *reader) stayAwake(n ast.Node) value[StayAwake] {
	s, before := DefaultStayAwake(), len(r.problems)
	r.mapping(n, "stay_awake", fields{
		"at_least": func(_ place, n ast.Node) { s.AtLeast = r.duration(n, 0, atLeastMax).v },
		"traffic": func(_ place, n ast.Node) {
			s.Traffic = uint64(r.integer(n, "a number of bytes in a minute", 1, math.MaxInt32).v)
		},
		"ports": func(_ place, n ast.Node) {
			for _, p := range r.ports(n) {
				s.Ports = append(s.Ports, p.v)
			}
		},
		"ignore_from":  func(_ place, n ast.Node) { s.IgnoreFrom = r.prefixes(n) },
		"users":        func(_ place, n ast.Node) { s.Users = oneOf(r, n, UsersLoggedIn, UsersActive, UsersOff).or(s.Users) },
		"ignore_users": func(_ place, n ast.Node) { s.IgnoreUser = r.texts(n, "a user's name") },
		"inhibitors":   func(_ place, n ast.Node) { s.Inhibitors = r.yes(n).v },
		"load":         func(_ place, n ast.Node) { s.Load = r.load(n) },
		"network": func(_ place, n ast.Node) {
			s.Network = uint64(r.integer(n, "a number of bytes in a second", 0, math.MaxInt32).v)
		},
		"processes": func(_ place, n ast.Node) { s.Processes = r.processes(n) },
		"units":     func(_ place, n ast.Node) { s.Units = r.units(n) },
		"commands":  func(_ place, n ast.Node) { s.Commands = r.busies(n, "commands") },
		"hooks": func(_ place, n ast.Node) {
			r.few(n, "hooks", func(e ast.Node) {
				if name := r.execName(e); name != "" {
					s.Hooks = append(s.Hooks, name)
				}
			})
		},
		"schedule": func(_ place, n ast.Node) {
			r.few(n, "schedule", func(e ast.Node) {
				if p, ok := r.span(e); ok {
					s.Schedule = append(s.Schedule, p)
				}
			})
		},
		"wake_at": func(_ place, n ast.Node) {
			r.few(n, "wake_at", func(e ast.Node) {
				if m, ok := r.moment(e); ok {
					s.WakeAt = append(s.WakeAt, m)
				}
			})
		},
		"wake_timers": func(_ place, n ast.Node) {
			r.few(n, "wake_timers", func(e ast.Node) {
				if name := r.unitOf(e, "timer", "backup"); name != "" {
					s.WakeTimers = append(s.WakeTimers, name)
				}
			})
		},
		"wake_commands": func(_ place, n ast.Node) { s.WakeAsk = r.busies(n, "wake_commands") },
	})
	return value[StayAwake]{s, placeOf(n), len(r.problems) == before}
}

// few reads a list that must not grow without bounds: each entry is asked for with each look.
func (r *reader) few(n ast.Node, what string, each func(ast.Node)) {
	count := 0
	r.list(n, func(e ast.Node) {
		if count++; count == maxBusy+1 {
			r.problem(placeOf(e), "%s has more than %d entries; let one of them stand for several", what, maxBusy)
		}
		each(e)
	})
}

func (r *reader) texts(n ast.Node, want string) (out []string) {
	r.list(n, func(e ast.Node) {
		if v := r.text(e, want); v.set {
			out = append(out, v.v)
		}
	})
	return out
}

// processes reads names as the kernel has them: no paths, no arguments.
func (r *reader) processes(n ast.Node) (out []string) {
	r.few(n, "processes", func(e ast.Node) {
		v := r.text(e, "a program's name like rsync")
		switch {
		case !v.set:
		case strings.ContainsAny(v.v, "/\x00\n"):
			r.problem(v.at, "%q is a path; write the program's name alone, as `ps -e` shows it", v.v)
		default:
			out = append(out, v.v)
		}
	})
	return out
}

func (r *reader) units(n ast.Node) (out []string) {
	r.few(n, "units", func(e ast.Node) {
		if name := r.unitName(e); name != "" {
			out = append(out, name)
		}
	})
	return out
}

// busies reads the commands: each a list of words, or a mapping with a time limit.
func (r *reader) busies(n ast.Node, list string) (out []Busy) {
	r.few(n, list, func(e ast.Node) {
		b := Busy{Timeout: busyTimeout}
		before := len(r.problems)
		if _, mapping := r.plain(e).(ast.MapNode); !mapping {
			b.Command = r.words(e).v
		} else {
			r.mapping(e, "a command", fields{
				"command": func(_ place, n ast.Node) { b.Command = r.words(n).v },
				"timeout": func(_ place, n ast.Node) { b.Timeout = r.duration(n, busyMin, busyMax).v },
			})
			if len(b.Command) == 0 && len(r.problems) == before {
				r.problem(placeOf(e), "this command has no words; write `command: [/usr/local/bin/busy]`")
			}
		}
		if len(r.problems) == before {
			out = append(out, b)
		}
	})
	return out
}

// load reads a load average.
func (r *reader) load(n ast.Node) float64 {
	v := r.text(n, "a load like 1.5")
	if !v.set {
		return 0
	}
	f, err := strconv.ParseFloat(v.v, 64)
	if err != nil || !(f >= 0 && f <= 10_000) {
		r.problem(v.at, "%q is not a load; write a number from 0 (it does not count) to 10000, like 1.5", v.v)
		return 0
	}
	return f
}

// prefixes reads addresses and networks.
func (r *reader) prefixes(n ast.Node) (out []netip.Prefix) {
	r.list(n, func(e ast.Node) {
		v := r.text(e, "an address or a network like 192.0.2.0/24")
		if !v.set {
			return
		}
		if a, err := netip.ParseAddr(v.v); err == nil && a.Zone() == "" {
			out = append(out, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		} else if p, err := netip.ParsePrefix(v.v); err == nil && !p.Addr().Is4In6() {
			out = append(out, p.Masked())
		} else {
			r.problem(v.at, "%q is neither an address nor a network; write one like 192.0.2.9 or 192.0.2.0/24", v.v)
		}
	})
	return out
}

// idleNotes are sentences about a valid setting that deserves a second look.
func idleNotes(own host, c *Config) (out []string) {
	switch {
	case own.idle.v > 0 && c.Power != Sleeps:
		out = append(out, "idle is set for this host, and its power is always-on: it does not sleep; write `power: sleeps` if it may")
	case c.Power == Sleeps && c.Idle > 0 && c.Idle < idleQuick:
		out = append(out, "idle "+c.Idle.String()+" is for tests: a host that sleeps so soon is woken again and again")
	}
	return out
}

// missingBusy says what this host is to ask and does not have: it never goes to sleep by itself then.
func missingBusy(c *Config, m *Machine) (out []string) {
	if c.Power != Sleeps {
		return nil
	}
	for _, b := range c.StayAwake.WakeAsk {
		if !m.HasCommand(b.Command[0]) {
			out = append(out, "this host has no command "+b.Command[0]+", which is to say when it is to wake (stay_awake: wake_commands): while that is so it does not go to sleep")
		}
	}
	if c.Idle == 0 {
		return out
	}
	const never = ", which stay_awake asks: while that is so it does not go to sleep by itself"
	for _, b := range c.StayAwake.Commands {
		if !m.HasCommand(b.Command[0]) {
			out = append(out, "this host has no command "+b.Command[0]+never)
		}
	}
	for _, h := range c.StayAwake.Hooks {
		if path := filepath.Join(c.ChecksDir, h); !m.HasFile(path) {
			out = append(out, "this host has no executable "+path+never)
		}
	}
	return out
}

package fsm

import (
	"fmt"
	"strings"
	"time"
)

// CheckKind is what a check asks.
type CheckKind string

// The kinds of checks. All of them are carried out on the target itself.
const (
	CheckTCP  CheckKind = "tcp"  // each address of ip0 takes a connection on Port
	CheckHTTP CheckKind = "http" // each address of ip0 answers GET Path on Port with a status in the range
	CheckExec CheckKind = "exec" // an executable of the host's own checks directory ends with 0
	CheckUnit CheckKind = "unit" // a systemd unit is active
)

// Check is one question that tells whether a service answers on a target. It never carries a command: the state is replicated,
// and what it names runs as root on other hosts. Name is looked up in a directory that each host's own file rules.
type Check struct {
	Kind      CheckKind     `json:"kind"`
	Port      uint16        `json:"port,omitempty"`       // tcp, http
	Path      string        `json:"path,omitempty"`       // http: begins with /
	Host      string        `json:"host,omitempty"`       // http: the Host header; "" = the address
	StatusMin int           `json:"status_min,omitempty"` // http
	StatusMax int           `json:"status_max,omitempty"` // http
	Name      string        `json:"name,omitempty"`       // exec: a file's name; unit: a unit's
	Interval  time.Duration `json:"interval"`             // between the end of one run and the next
	Timeout   time.Duration `json:"timeout"`              // a run that takes longer has failed
	Rise      int           `json:"rise"`                 // passes in a row until it counts as passing
	Fall      int           `json:"fall"`                 // failures in a row until it counts as failing
}

// Defaults and ranges of a check.
const (
	CheckInterval    = 2 * time.Second
	CheckIntervalMin = 100 * time.Millisecond
	CheckIntervalMax = 10 * time.Minute
	CheckTimeout     = time.Second
	CheckTimeoutMin  = 10 * time.Millisecond
	CheckTimeoutMax  = time.Minute
	CheckRise        = 1
	CheckFall        = 3
	CheckStreakMax   = 100
	StatusMin        = 200 // of http, by default up to StatusMax
	StatusMax        = 399
	MaxChecks        = 16
)

// String names a check to people: "tcp 8080", "http 8080/health", "exec db", "unit web.service".
func (c Check) String() string {
	switch c.Kind {
	case CheckTCP:
		return fmt.Sprintf("tcp %d", c.Port)
	case CheckHTTP:
		return fmt.Sprintf("http %d%s", c.Port, c.Path)
	}
	return string(c.Kind) + " " + c.Name
}

// Silence is how long nothing may be heard of a check until it counts as failing: as long as a failing one takes to be found out.
func (c Check) Silence() time.Duration { return time.Duration(c.Fall) * (c.Interval + c.Timeout) }

// Unit is the systemd unit that runs a service on its targets.
type Unit struct {
	Name string `json:"name"`
	// Manage lets the agent start it on a target that is to take the service, and stop it when the identity has gone.
	Manage bool `json:"manage"`
}

// Asks gives all checks of a service: those of its definition, and one of its unit where none of them asks for that.
func (sv Service) Asks() []Check {
	if sv.Unit.Name == "" {
		return sv.Checks
	}
	for _, c := range sv.Checks {
		if c.Kind == CheckUnit && c.Name == sv.Unit.Name {
			return sv.Checks
		}
	}
	return append(sv.Checks[:len(sv.Checks):len(sv.Checks)], Check{
		Kind: CheckUnit, Name: sv.Unit.Name, Interval: CheckInterval, Timeout: CheckTimeout, Rise: CheckRise, Fall: CheckFall,
	})
}

// Checked says whether a target of the service must show that it answers.
func (sv Service) Checked() bool { return len(sv.Checks) > 0 || sv.Unit.Name != "" }

// Silence is the longest of its checks'.
func (sv Service) Silence() time.Duration {
	var most time.Duration
	for _, c := range sv.Asks() {
		most = max(most, c.Silence())
	}
	return most
}

func validateChecks(sv Service, add func(string, ...any)) {
	if n := len(sv.Checks); n > MaxChecks {
		add("checks lists %d checks, more than %d: let one executable (exec) ask for several things", n, MaxChecks)
	}
	seen := map[string]bool{}
	for _, c := range sv.Checks {
		for _, why := range c.problems() {
			add("check %s: %s", c, why)
		}
		if seen[c.String()] {
			add("check %s is listed twice", c)
		}
		seen[c.String()] = true
	}
	switch why := unitProblem(sv.Unit.Name); {
	case sv.Unit.Name == "" && sv.Unit.Manage:
		add("manage is set, but no unit is named: add unit, such as web.service")
	case sv.Unit.Name != "" && why != "":
		add("unit %q %s", sv.Unit.Name, why)
	}
}

func (c Check) problems() (out []string) {
	add := func(f string, args ...any) { out = append(out, fmt.Sprintf(f, args...)) }
	switch c.Kind {
	case CheckTCP, CheckHTTP:
		if c.Port == 0 {
			add("port 0 does not exist: ports go from 1 to 65535")
		}
		if c.Name != "" {
			add("it has a name, which is for exec and unit")
		}
	case CheckExec:
		if why := execProblem(c.Name); why != "" {
			add("%q %s", c.Name, why)
		}
	case CheckUnit:
		if why := unitProblem(c.Name); why != "" {
			add("%q %s", c.Name, why)
		}
	default:
		add("%q is no kind of check: write tcp, http, exec or unit", c.Kind)
	}
	if c.Kind == CheckHTTP {
		out = append(out, c.httpProblems()...)
	} else if c.Path != "" || c.Host != "" || c.StatusMin != 0 || c.StatusMax != 0 {
		add("path, host and status are for http checks")
	}
	if c.Interval < CheckIntervalMin || c.Interval > CheckIntervalMax {
		add("interval %s is out of range: choose %s to %s", c.Interval, CheckIntervalMin, CheckIntervalMax)
	}
	if c.Timeout < CheckTimeoutMin || c.Timeout > CheckTimeoutMax {
		add("timeout %s is out of range: choose %s to %s", c.Timeout, CheckTimeoutMin, CheckTimeoutMax)
	}
	if c.Rise < 1 || c.Rise > CheckStreakMax || c.Fall < 1 || c.Fall > CheckStreakMax {
		add("rise %d and fall %d: choose 1 to %d for each", c.Rise, c.Fall, CheckStreakMax)
	}
	return out
}

func (c Check) httpProblems() (out []string) {
	if !strings.HasPrefix(c.Path, "/") || len(c.Path) > 512 || strings.ContainsFunc(c.Path, unprintable) {
		out = append(out, fmt.Sprintf("path %q must begin with / and have at most 512 printable characters without spaces", c.Path))
	}
	if len(c.Host) > 255 || strings.ContainsFunc(c.Host, unprintable) || strings.ContainsAny(c.Host, "/@") {
		out = append(out, fmt.Sprintf("host %q cannot stand in a Host header: write a name like www.example.net", c.Host))
	}
	if c.StatusMin < 100 || c.StatusMax > 599 || c.StatusMin > c.StatusMax {
		out = append(out, fmt.Sprintf("status %d-%d is no range within 100 to 599: write one like 200-299", c.StatusMin, c.StatusMax))
	}
	return out
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// execProblem keeps a name from being a path or a hidden file.
func execProblem(name string) string {
	if len(name) < 1 || len(name) > 64 || name[0] == '.' || name[0] == '-' || !onlyOf(strings.ToLower(name), "-._") {
		return "is not the name of an executable in the host's checks directory: use letters, digits, dots, dashes and underscores, at most 64, with no path and no arguments"
	}
	return ""
}

// unitProblem accepts the names of services (systemd.unit(5)), with an instance but without what D-Bus and shells take for something else.
func unitProblem(name string) string {
	base, ok := strings.CutSuffix(name, ".service")
	if !ok || base == "" || len(name) > 255 || base[0] == '-' || base[0] == '.' || !onlyOf(strings.ToLower(base), `-._@:\`) {
		return "is not the name of a service unit: write one like web.service"
	}
	return ""
}

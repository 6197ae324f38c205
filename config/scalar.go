package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// called checks the name of a cluster, node or service: what fits in a host name, at most limit bytes.
func (r *reader) called(v value[string], what string, limit int) value[string] {
	if !v.set {
		return v
	}
	if why := badName(v.v, limit); why != "" {
		r.problem(v.at, "%q cannot be the name of a %s: %s; use a-z, 0-9 and -, at most %d letters", v.v, what, why, limit)
		return value[string]{}
	}
	return v
}

func badName(s string, limit int) string {
	if len(s) > limit {
		return "it is too long"
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return strconv.Quote(string(c)) + " is not allowed"
		}
	}
	if strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-") {
		return "it begins or ends with -"
	}
	return ""
}

// oneOf reads one of a few words.
func oneOf[T ~string](r *reader, n ast.Node, words ...T) value[T] {
	known := make([]string, len(words))
	for i, w := range words {
		known[i] = string(w)
	}
	v := r.text(n, "one of "+strings.Join(known, ", "))
	if !v.set {
		return value[T]{}
	}
	if !slices.Contains(known, v.v) {
		r.problem(v.at, "%q is not one of %s; %s", v.v, strings.Join(known, ", "), hint(v.v, known, "choose one of "))
		return value[T]{}
	}
	return value[T]{T(v.v), v.at, true}
}

// duration reads a time like 1s or 300ms within bounds.
func (r *reader) duration(n ast.Node, lowest, highest time.Duration) value[time.Duration] {
	v := r.text(n, "a time like 1s or 300ms")
	if !v.set {
		return value[time.Duration]{}
	}
	d, err := time.ParseDuration(v.v)
	switch {
	case err != nil && isNumber(v.v):
		r.problem(v.at, "%s has no unit; write %ss or %sms", v.v, v.v, v.v)
	case err != nil && strings.HasSuffix(v.v, "d") && isNumber(v.v[:len(v.v)-1]):
		r.problem(v.at, "%s: the longest unit of a time is the hour; write %sh", v.v, hours(v.v))
	case err != nil:
		r.problem(v.at, "%q is not a time; write it like 1s or 300ms", v.v)
	case d < lowest || d > highest:
		r.problem(v.at, "%s is out of range; write a time from %s to %s", v.v, lowest, highest)
	default:
		return value[time.Duration]{d, v.at, true}
	}
	return value[time.Duration]{}
}

// hours has a number of days in hours.
func hours(days string) string {
	n, _ := strconv.ParseFloat(strings.TrimSuffix(days, "d"), 64)
	return strconv.FormatFloat(n*24, 'f', -1, 64)
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// integer reads a whole number within bounds. what names it: "a port number".
func (r *reader) integer(n ast.Node, what string, lowest, highest int) value[int] {
	v := r.text(n, what)
	if !v.set {
		return value[int]{}
	}
	i, err := strconv.Atoi(v.v)
	if err != nil || i < lowest || i > highest {
		r.problem(v.at, "%q is not %s; write a whole number from %d to %d", v.v, what, lowest, highest)
		return value[int]{}
	}
	return value[int]{i, v.at, true}
}

// yes reads true or false.
func (r *reader) yes(n ast.Node) value[bool] {
	v := r.text(n, "true or false")
	if v.set && v.v != "true" && v.v != "false" {
		r.problem(v.at, "%q is neither true nor false; write one of them", v.v)
		return value[bool]{}
	}
	return value[bool]{v.v == "true", v.at, v.set}
}

// path reads an absolute path.
func (r *reader) path(n ast.Node) value[string] {
	v := r.text(n, "an absolute path")
	if v.set && !filepath.IsAbs(v.v) {
		r.problem(v.at, "%q is not an absolute path; begin it with /, for the daemon's working directory is not yours", v.v)
		return value[string]{}
	}
	if v.set {
		v.v = filepath.Clean(v.v)
	}
	return v
}

// words reads a command as a list of words.
func (r *reader) words(n ast.Node) value[[]string] {
	if _, ok := r.plain(n).(*ast.SequenceNode); !ok {
		v := r.text(n, "a list of words like [systemctl, suspend]")
		if v.set {
			r.problem(v.at, "a command is a list of words, for no shell reads it; write [%s]", strings.Join(strings.Fields(v.v), ", "))
		}
		return value[[]string]{}
	}
	out := value[[]string]{at: placeOf(n)}
	r.list(n, func(e ast.Node) {
		if v := r.text(e, "a word"); v.set {
			out.v = append(out.v, v.v)
		}
	})
	if out.set = len(out.v) > 0; !out.set {
		r.problem(out.at, "the command is empty; write a list of words like [systemctl, suspend]")
	}
	return out
}

// addr reads an IP address that a host or service can have.
func (r *reader) addr(n ast.Node, what string) value[netip.Addr] {
	v := r.text(n, "an IP address")
	if !v.set {
		return value[netip.Addr]{}
	}
	a, err := netip.ParseAddr(v.v)
	if err != nil {
		if p, perr := netip.ParsePrefix(v.v); perr == nil {
			r.problem(v.at, "%q has a prefix length; write %s alone", v.v, p.Addr())
		} else {
			r.problem(v.at, "%q is not an IP address; write one like 192.0.2.200 or 2001:db8::200", v.v)
		}
		return value[netip.Addr]{}
	}
	if why := badAddr(a); why != "" {
		r.problem(v.at, "%s cannot be the address of a %s: it is %s; write an address of the LAN", a, what, why)
		return value[netip.Addr]{}
	}
	return value[netip.Addr]{a, v.at, true}
}

func badAddr(a netip.Addr) string {
	switch {
	case a.Is4In6():
		return "an IPv4 address in IPv6 form"
	case a.Zone() != "":
		return "bound to a zone"
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast():
		return "a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return ""
}

// mac reads the hardware address of one host.
func (r *reader) mac(n ast.Node) value[net.HardwareAddr] {
	v := r.text(n, "a hardware address like 02:00:5e:00:00:01")
	if !v.set {
		return value[net.HardwareAddr]{}
	}
	hw, err := net.ParseMAC(v.v)
	var why string
	switch {
	case err != nil || len(hw) != 6:
		r.problem(v.at, "%q is not a hardware address; write six bytes like 02:00:5e:00:00:01", v.v)
		return value[net.HardwareAddr]{}
	case [6]byte(hw) == [6]byte{}:
		why = "is all zero"
	case [6]byte(hw) == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		why = "is the broadcast address"
	case hw[0]&1 != 0:
		why = "is a multicast address (its first byte is odd)"
	default:
		return value[net.HardwareAddr]{hw, v.at, true}
	}
	r.problem(v.at, "%s %s and can belong to no host; write one whose first byte is even, like 02:00:5e:00:00:01", hw, why)
	return value[net.HardwareAddr]{}
}

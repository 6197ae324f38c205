package config

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed example.yaml
var example string

// Example is a commented configuration file to start from.
func Example() string { return example }

// FormatServices writes services as `apply -f` reads them.
func FormatServices(list []Service) string {
	if len(list) == 0 {
		return "services: []\n"
	}
	var b strings.Builder
	b.WriteString("services:\n")
	for _, s := range list {
		fmt.Fprintf(&b, "  - name: %s\n", quoted(s.Name))
		fmt.Fprintf(&b, "    address: %s\n", flow(s.Addresses, func(a fmt.Stringer) string { return quoted(a.String()) }))
		if s.Mode == ModeAddress {
			fmt.Fprintf(&b, "    mode: %s\n", s.Mode)
		}
		if s.MAC != nil {
			fmt.Fprintf(&b, "    mac: %q\n", s.MAC)
		}
		fmt.Fprintf(&b, "    ports: %s\n", flow(s.Ports, fmt.Stringer.String))
		fmt.Fprintf(&b, "    targets: [%s]\n", strings.Join(mapped(s.Targets, quoted), ", "))
		if s.Replay != "" && s.Replay != ReplayTCP {
			fmt.Fprintf(&b, "    replay: %s\n", s.Replay)
		}
		fmt.Fprintf(&b, "    hold: %s\n", s.FormatHold())
		if w := s.Wake.Format(); w != "" {
			fmt.Fprintf(&b, "    wake: %s\n", w)
		}
		if len(s.Checks) > 0 {
			b.WriteString("    checks:\n")
		}
		for _, c := range s.Checks {
			fmt.Fprintf(&b, "      - %s\n", c)
		}
		if s.Unit.Name != "" {
			fmt.Fprintf(&b, "    unit: %s\n    manage: %t\n", s.Unit.Name, s.Unit.Manage)
		}
	}
	return b.String()
}

// quoted protects what YAML would not read as the same text: a name of digits, an IPv6 address.
func quoted(s string) string {
	if strings.ContainsRune(s, ':') || isNumber(s) || s == "true" || s == "false" || s == "null" {
		return fmt.Sprintf("%q", s)
	}
	return s
}

func mapped[T any](list []T, f func(T) string) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = f(x)
	}
	return out
}

// flow writes a list in brackets, and a single entry without.
func flow[T fmt.Stringer](list []T, f func(fmt.Stringer) string) string {
	words := mapped(list, func(x T) string { return f(x) })
	if len(words) == 1 {
		return words[0]
	}
	return "[" + strings.Join(words, ", ") + "]"
}

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"nightporter/config"
)

// writeConfig writes the configuration file that all hosts share, and the secret.
func writeConfig(o Options) error {
	if err := os.WriteFile(filepath.Join(o.Dir, secretName), config.NewSecret(), 0o600); err != nil {
		return fmt.Errorf("write the lab's secret: %w", err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, configName), []byte(configText(o)), 0o600); err != nil {
		return fmt.Errorf("write the lab's configuration: %w", err)
	}
	return nil
}

// ChecksDir is where each host has its executables for checks, below its directory.
const ChecksDir = "checks.d"

// configText is the configuration file. A JSON string is a YAML string, so strconv.Quote does for paths.
func configText(o Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by `nightporter lab up`.\n")
	fmt.Fprintf(&b, "cluster: lab\nsecret_file: %s\ninterface: %s\n", quote(o.Dir, secretName), hostIface)
	fmt.Fprintf(&b, "failover: %s\nlog_level: %s\nwol: assumed # the card is a stand-in\n", o.Failover, o.LogLevel)
	if o.LookAfter > 0 {
		fmt.Fprintf(&b, "look_after: %s\n", o.LookAfter)
	} else {
		b.WriteString("look_after: off\n")
	}
	if !slices.ContainsFunc(o.Lines, func(l string) bool { return strings.HasPrefix(l, "canary:") }) {
		fmt.Fprintf(&b, "canary: off\n")
	}
	if o.Idle > 0 {
		fmt.Fprintf(&b, "idle: %s\nstay_awake:\n", o.Idle)
		lines := o.StayAwake
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "load:") }) {
			lines = slices.Concat([]string{"load: 0"}, lines)
		}
		for _, l := range lines {
			fmt.Fprintf(&b, "  %s\n", l)
		}
	}
	for _, l := range o.Lines {
		fmt.Fprintln(&b, l)
	}
	fmt.Fprintf(&b, "\nnodes:\n")
	for k := 1; k <= o.Hosts; k++ {
		p := hostPlug(k)
		fmt.Fprintf(&b, "  %s:\n    address: %s\n    power: %s\n    data_dir: %s\n", p.name, p.addr, o.policy(k), quote(o.Dir, "hosts", p.name, "data"))
		if slices.Contains(o.Witnesses, k) {
			b.WriteString("    role: witness\n")
		}
		fmt.Fprintf(&b, "    checks_dir: %s\n", quote(o.Dir, "hosts", p.name, ChecksDir))
		fmt.Fprintf(&b, "    suspend_command: [%s, lab, suspend-self, --dir, %s, --host, %s]\n", quote(o.Dir, "bin", "nightporter"), quote(o.Dir), p.name)
	}
	if len(o.Services) > 0 {
		fmt.Fprintf(&b, "\nservices:\n")
	}
	for _, sv := range o.Services {
		fmt.Fprintf(&b, "  - name: %s\n    address: [%s]\n", sv.Name, list(sv.Addresses))
		if sv.Mode != "" {
			fmt.Fprintf(&b, "    mode: %s\n", sv.Mode)
		}
		if sv.MAC != nil {
			fmt.Fprintf(&b, "    mac: %s\n", strconv.Quote(sv.MAC.String()))
		}
		fmt.Fprintf(&b, "    ports: [%s]\n    targets: [%s]\n", list(sv.Ports), strings.Join(sv.Targets, ", "))
		if sv.Replay != "" {
			fmt.Fprintf(&b, "    replay: %s\n", sv.Replay)
		}
		if sv.Hold != "" || len(sv.Holds) > 0 {
			fmt.Fprintf(&b, "    hold: %s\n", sv.FormatHold())
		}
		if rules := sv.Wake.Format(); rules != "" {
			fmt.Fprintf(&b, "    wake: %s\n", rules)
		} else { // who judges a lab wants every attempt to wake
			fmt.Fprintf(&b, "    wake: {budget: off, budget_all: off}\n")
		}
		if len(sv.Checks) > 0 {
			fmt.Fprintf(&b, "    checks:\n")
		}
		for _, c := range sv.Checks {
			fmt.Fprintf(&b, "      - %s\n", c)
		}
		if sv.Unit.Name != "" {
			fmt.Fprintf(&b, "    unit: %s\n    manage: %t\n", strconv.Quote(sv.Unit.Name), sv.Unit.Manage)
		}
	}
	return b.String()
}

func (o Options) policy(k int) config.Power {
	for _, s := range o.Sleepers {
		if s == k {
			return config.Sleeps
		}
	}
	return config.AlwaysOn
}

func quote(elem ...string) string { return strconv.Quote(filepath.Join(elem...)) }

func list[T fmt.Stringer](items []T) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = strconv.Quote(item.String())
	}
	return strings.Join(words, ", ")
}

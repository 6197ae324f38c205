package lab_test

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// The configuration that a lab writes is one that the agent takes without a note.
func TestConfiguration(t *testing.T) {
	services := []config.Service{
		{
			Name: "one", Addresses: []netip.Addr{lab.ServiceAddr(), netip.MustParseAddr("fd77::200")}, Hold: config.HoldDrop,
			Ports: []config.Port{{Protocol: "tcp", Number: 22}, {Protocol: "udp", Number: 53}}, Targets: []string{"h2", "h3"},
			MAC: config.DeriveMAC("lab", "other"),
		},
		{Name: "two", Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.201")}, Ports: []config.Port{{Protocol: "tcp", Number: 80}}, Targets: []string{"h3"}},
	}
	l := up(t, lab.Options{Hosts: 3, Sleepers: []int{2, 3}, NoAgent: true, Services: services, Failover: 700 * time.Millisecond})
	lan := func(own string) *config.Machine {
		m := config.ThisMachine()
		m.OnDisk = func(string) bool { return false }
		m.Prefixes = func(string) ([]netip.Prefix, error) {
			return []netip.Prefix{netip.MustParsePrefix(own), netip.MustParsePrefix("fd77::12/64")}, nil
		}
		return m
	}
	c, err := config.Load(filepath.Join(l.Dir(), "nightporter.yaml"), "h2", lan("10.77.0.12/24"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Notes) != 0 {
		t.Errorf("the configuration deserves a second look: %q", c.Notes)
	}
	if _, err := config.ReadSecrets(c.SecretFile); err != nil {
		t.Error(err)
	}
	h2 := l.Host("h2")
	if c.Address != h2.Addr() || c.Power != config.Sleeps || c.Failover != 700*time.Millisecond || c.BootstrapExpect != 3 || c.Interface != "eth0" {
		t.Errorf("h2 is configured as %+v", c)
	}
	if want := []string{filepath.Join(l.Dir(), "bin", "nightporter"), "lab", "suspend-self", "--dir", l.Dir(), "--host", "h2"}; !slices.Equal(c.SuspendCommand, want) {
		t.Errorf("h2 suspends with %q, want %q", c.SuspendCommand, want)
	}
	if len(c.Services) != 2 || c.Services[0].MAC.String() != services[0].MAC.String() || !slices.Equal(c.Services[0].Addresses, services[0].Addresses) ||
		!slices.Equal(c.Services[0].Ports, services[0].Ports) || !slices.Equal(c.Services[0].Targets, services[0].Targets) {
		t.Errorf("the services are %+v", c.Services)
	}
	if c1, err := config.Load(c.File, "h1", lan("10.77.0.11/24")); err != nil || c1.Power != config.AlwaysOn || c1.Digest != c.Digest {
		t.Errorf("h1 is configured as %+v (%v)", c1, err)
	}
}

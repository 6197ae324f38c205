package config

import (
	"slices"
	"strings"
	"testing"
)

// How a host sleeps: its own entry goes before the top level, whichever of the two keys it has.
func TestHowAHostSleeps(t *testing.T) {
	for _, c := range []struct {
		top, own string
		kind     Suspend
		command  string
	}{
		{"", "", SuspendDefault, "systemctl suspend"},
		{"suspend: deep", "", SuspendDeep, "systemctl suspend"},
		{"suspend: s2idle", "suspend: hibernate", SuspendHibernate, "systemctl hibernate"},
		{"suspend_command: [zzz]", "", SuspendOwn, "zzz"},
		{"suspend_command: [zzz]", "suspend: hybrid-sleep", SuspendHybrid, "systemctl hybrid-sleep"},
		{"suspend: suspend-then-hibernate", "suspend_command: [zzz, -n]", SuspendOwn, "zzz -n"},
		{"suspend: suspend-then-hibernate", "", SuspendThenHibernate, "systemctl suspend-then-hibernate"},
	} {
		got, err := Parse("f", []byte("cluster: c\n"+c.top+"\nnodes:\n  a: {"+c.own+"}\n"), "a", nil)
		if err != nil {
			t.Error(c, err)
			continue
		}
		if got.Suspend != c.kind || strings.Join(got.SuspendCommand, " ") != c.command {
			t.Errorf("%q and %q: %q, %q", c.top, c.own, got.Suspend, got.SuspendCommand)
		}
	}
}

// A host that cannot sleep as it is to is told so, and is none the worse for it.
func TestWhatAHostCannotIsANote(t *testing.T) {
	for _, c := range []struct {
		file string
		want bool
	}{
		{"power: sleeps\nsuspend: deep", true},
		{"power: sleeps", false},
		{"power: always-on\nsuspend: deep", false},
		{"power: sleeps\nsuspend_command: [sh]", false},
	} {
		m := *machine
		m.Sleeps = func(s Suspend) string {
			switch s {
			case SuspendDeep:
				return "the kernel does not offer it"
			case SuspendOwn:
				t.Error("asked of a command")
			}
			return ""
		}
		got, err := Parse("f", withSecret(t, []byte("cluster: c\ninterface: eth0\n"+c.file+"\n")), "a", &m)
		if err != nil {
			t.Error(c.file, err)
			continue
		}
		if said := slices.Contains(got.Notes, "this host is to sleep (power: sleeps) and stays awake: the kernel does not offer it"); said != c.want {
			t.Errorf("%q: notes %q", c.file, got.Notes)
		}
	}
}

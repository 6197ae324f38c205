package doctor

import (
	"cmp"
	"fmt"

	"nightporter/api"
)

// The areas, in the order in which they are looked at and told.
const (
	areaConfig     = "config"
	areaPrivileges = "privileges"
	areaKernel     = "kernel"
	areaInterface  = "interface"
	areaWoL        = "wol"
	areaARP        = "arp"
	areaConflict   = "conflict"
	areaManagers   = "managers"
	areaFirewall   = "firewall"
	areaClock      = "clock"
	areaPorts      = "port-security"
	areaSleep      = "sleep"
	areaVersions   = "versions"
)

// Areas are all of them.
var Areas = []string{
	areaConfig, areaPrivileges, areaKernel, areaInterface, areaWoL, areaARP, areaConflict, areaManagers, areaFirewall, areaClock, areaPorts,
	areaSleep, areaVersions,
}

// Entry is what is always true of a finding.
type Entry struct {
	Name   string
	Area   string // "" = any
	Level  api.Level
	What   string // when it is found
	Why    string // it matters: also told with the finding
	Fix    string // in general
	Source string
}

// fineName is the name of what is as it should be.
const fineName = "fine"

// Catalogue is all that can be found, by area.
func Catalogue() []Entry {
	var all []Entry
	for _, part := range [][]Entry{hostEntries, linkEntries, lanEntries, powerEntries} {
		all = append(all, part...)
	}
	return all
}

func entryOf(name string) Entry {
	for _, e := range Catalogue() {
		if e.Name == name {
			return e
		}
	}
	panic("the catalogue of findings lacks " + name) // a test asks for every name
}

// found makes a finding of a kind, with the particulars of this case. fix "" is what the catalogue says.
func found(name, fix, format string, args ...any) api.Finding {
	e := entryOf(name)
	return api.Finding{Level: e.Level, Area: e.Area, Name: name, What: fmt.Sprintf(format, args...), Why: e.Why, Fix: cmp.Or(fix, e.Fix)}
}

// as is a finding at another level than usual.
func as(l api.Level, f api.Finding) api.Finding {
	f.Level = l
	return f
}

func fine(area, format string, args ...any) api.Finding {
	return api.Finding{Level: api.Fine, Area: area, Name: fineName, What: fmt.Sprintf(format, args...)}
}

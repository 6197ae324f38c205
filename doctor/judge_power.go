package doctor

import (
	"cmp"
	"regexp"
	"strings"

	"nightporter/api"
	"nightporter/config"
)

func judgeSleep(f Facts) (out []api.Finding) {
	own := f.Config.Own
	states := strings.TrimSpace(f.Sleep.States)
	if own == nil {
		if f.Sleep.Asked && states == "" {
			out = append(out, found("no-sleep-states", "", "the kernel offers no suspend (/sys/power/state)"))
		}
		return out
	}
	if !f.sleeps() {
		return nil
	}
	if f.Sleep.Cannot != "" {
		out = append(out, found("cannot-sleep", "", "this host is to sleep and cannot: %s", f.Sleep.Cannot))
	}
	if f.Clock.RTC != "" {
		out = append(out, found("rtc-missing", "", "%s", f.Clock.RTC))
	}
	if own.Suspend == config.SuspendDefault && f.Sleep.Mode == "s2idle" {
		out = append(out, found("sleep-s2idle", "", "a suspend is s2idle here (/sys/power/mem_sleep)"))
	}
	return clean(out, areaSleep, "it can sleep (%s); the kernel offers %s", cmp.Or(string(own.Suspend), "by its own command"), cmp.Or(states, "nothing"))
}

// withoutReload are the versions whose agent ends when it is told to take a new program: 0.1.
var withoutReload = regexp.MustCompile(`^v0\.1([^0-9]|$)`)

func judgeVersions(f Facts) (out []api.Finding) {
	a := f.Agent
	switch {
	case a.Denied:
		return append(out, fromUnseen(areaVersions, "the agent of this host", a.Why, "sudo nightporter doctor"))
	case a.Status == nil:
		one := found("daemon-down", "", "%s", cmp.Or(a.Why, "no agent answers at the admin socket"))
		if a.Member { // it is meant to run
			one = as(api.Fail, one)
			one.What = "the agent of this member does not run, or hangs: " + one.What
		}
		return append(out, one)
	}
	if f.Version != "" && a.Status.Version != f.Version {
		fix := "systemctl reload nightporter"
		if withoutReload.MatchString(a.Status.Version) {
			fix = "systemctl restart nightporter"
		}
		out = append(out, found("daemon-version", fix, "the agent is of version %s, this command of %s", a.Status.Version, f.Version))
	}
	for _, p := range a.Status.Troubles {
		out = append(out, found("agent-problem", cmp.Or(p.Do, "nightporter status"), "%s", p.What))
	}
	return clean(out, areaVersions, "the agent runs, version %s, and complains of nothing", a.Status.Version)
}

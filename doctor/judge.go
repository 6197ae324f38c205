package doctor

import (
	"cmp"
	"slices"
	"strings"

	"nightporter/api"
	"nightporter/config"
)

// worst is the order of the levels.
var worst = map[api.Level]int{api.Fail: 0, api.Warn: 1, api.Note: 2, api.Fine: 3}

// Judge says what the facts mean, the worst first. An area about which there is nothing to complain is one finding that says what was looked at.
func Judge(f Facts) []api.Finding {
	judges := []func(Facts) []api.Finding{
		judgeConfig, judgeRights, judgeKernel, judgeLink, judgeWoL, judgeARP, judgeClaims, judgeManagers, judgePorts, judgeClock, judgeSleep, judgeVersions,
	}
	all := unseen(f)
	for _, judge := range judges {
		all = append(all, judge(f)...)
	}
	return ordered(all)
}

func ordered(all []api.Finding) []api.Finding {
	slices.SortStableFunc(all, func(a, b api.Finding) int { return cmp.Compare(worst[a.Level], worst[b.Level]) })
	return all
}

// clean adds that an area is fine where nothing worse than a note is said of it.
func clean(out []api.Finding, area, format string, args ...any) []api.Finding {
	if slices.ContainsFunc(out, func(f api.Finding) bool { return f.Level == api.Fail || f.Level == api.Warn }) {
		return out
	}
	return append(out, fine(area, format, args...))
}

func unseen(f Facts) (out []api.Finding) {
	for _, u := range f.Unseen {
		one := found("not-looked-at", u.How, "%s was not looked at: %s", u.What, u.Why)
		one.Area = u.Area
		out = append(out, one)
	}
	return out
}

func judgeConfig(f Facts) (out []api.Finding) {
	c := f.Config
	if c.Missing {
		at := ""
		if c.Path != config.DefaultPath {
			at = " --config " + c.Path
		}
		fix := "nightporter setup" + at + "; on a further host of a cluster, nightporter setup --join" + at
		return append(out, found("config-missing", fix, "there is no file %s", c.Path))
	}
	for _, p := range c.Problems {
		out = append(out, found("config-invalid", "nightporter config check "+c.Path, "%s", p))
	}
	if c.Own == nil {
		return out
	}
	for _, n := range c.Own.Notes {
		out = append(out, found("config-note", "nightporter config example", "%s", n))
	}
	return clean(out, areaConfig, "%s is fine for node %s", c.Path, c.Own.Node)
}

// Capabilities, by their bits (linux/capability.h).
const (
	capNetAdmin = 12
	capNetRaw   = 13
)

func judgeRights(f Facts) (out []api.Finding) {
	r := f.Rights
	if !r.Read {
		return nil
	}
	var lacks []string
	for _, c := range []struct {
		bit  int
		name string
	}{{capNetAdmin, "CAP_NET_ADMIN"}, {capNetRaw, "CAP_NET_RAW"}} {
		if r.Effective>>c.bit&1 == 0 {
			lacks = append(lacks, c.name)
		}
	}
	switch {
	case r.UID != 0:
		out = append(out, found("not-root", "sudo nightporter doctor", "this command runs as user %d", r.UID))
	case len(lacks) > 0:
		out = append(out, found("capabilities", "", "root lacks %s here", strings.Join(lacks, " and ")))
	}
	if r.UID == 0 && r.Namespace {
		out = append(out, found("user-namespace", "", "root is root of a user namespace only"))
	}
	if r.UID != 0 {
		return out
	}
	return clean(out, areaPrivileges, "root with the capabilities that an agent needs")
}

func judgeKernel(f Facts) (out []api.Finding) {
	k := f.Kernel
	if !k.Tried {
		return judgeFence(f)
	}
	one := func(name string, err error) {
		if err != nil {
			out = append(out, found(name, "", "%s: %v", map[string]string{
				"kernel-macvlan": "no macvlan can be made", "kernel-nftables": "the filters of nftables cannot be built", "kernel-packet": "no packet socket can be opened",
			}[name], err))
		}
	}
	if len(modes(f.Services)) == 0 || f.inMode(config.ModeMAC) {
		one("kernel-macvlan", k.Trial.Macvlan)
	}
	one("kernel-nftables", k.Trial.NFTables)
	one("kernel-packet", k.Trial.Packet)
	own := f.Config.Own
	if err := k.Trial.Exact; err != nil && (own == nil || own.Fence != config.FenceNFTables) && k.Trial.NFTables == nil {
		b := found("kernel-bpf", "", "the exact fence cannot be had: %v", err)
		if own != nil && own.Fence == config.FenceRequired {
			b = as(api.Fail, b)
		}
		out = append(out, b)
	}
	for _, l := range k.Trial.Limits {
		one := found("kernel-fence-limit", "", "the exact fence: %s", l)
		if own != nil && own.Fence == config.FenceRequired {
			one = as(api.Fail, one)
		}
		out = append(out, one)
	}
	return clean(out, areaKernel, "Linux %s: macvlan, nftables, packet sockets and the exact fence were tried and work", k.Release)
}

// judgeFence goes by what the agent has built, where nothing can be tried: its unit does not let it make a namespace.
func judgeFence(f Facts) (out []api.Finding) {
	own := f.Config.Own
	if f.Kernel.Fence == "nftables" && (own == nil || own.Fence != config.FenceNFTables) {
		out = append(out, found("kernel-bpf", "", "the agent has built a fence of nftables, not the exact one; its log says why"))
	}
	if f.Kernel.Fence == "" {
		return nil
	}
	return clean(out, areaKernel, "Linux %s: the agent has built identities here, with the fence %s", f.Kernel.Release, f.Kernel.Fence)
}

// modes are those of services, each once.
func modes(all []Identity) (out []string) {
	for _, s := range all {
		if m := cmp.Or(s.Mode, config.ModeMAC); !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// inMode says whether there is a service in a mode.
func (f Facts) inMode(mode string) bool { return slices.Contains(modes(f.Services), mode) }

// sleeps says whether this host is to sleep.
func (f Facts) sleeps() bool { return f.Config.Own != nil && f.Config.Own.Power == config.Sleeps }

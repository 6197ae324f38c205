package doctor

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nightporter/identity"
	"nightporter/wake"
)

// fileOrNone reads a small file of the kernel; a missing one is empty, and asked is false where it cannot be read.
func fileOrNone(path string) (text string, asked bool) {
	raw, err := os.ReadFile(path)
	return strings.TrimSpace(string(raw)), err == nil || errors.Is(err, fs.ErrNotExist)
}

// wholeMap is the map of users where root is the machine's (user_namespaces(7)).
var wholeMap = regexp.MustCompile(`^\s*0\s+0\s+4294967295\s*$`)

func (l *looker) rights() {
	r := &l.f.Rights
	r.UID = os.Geteuid()
	status, _ := fileOrNone("/proc/self/status")
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			r.Effective, r.Read = bits, err == nil
		}
	}
	if users, asked := fileOrNone("/proc/self/uid_map"); asked && users != "" {
		r.Namespace = !wholeMap.MatchString(users)
	}
}

// errInAgent is why an agent does not try the kernel.
var errInAgent = errors.New("it is not tried within an agent, which has built no identity yet that would show it")

func (l *looker) kernel() {
	k := Kernel{Release: wake.Kernel()}
	if l.Status != nil {
		for _, s := range l.Status.Services {
			k.Fence = cmp.Or(k.Fence, s.Fence.Kind)
		}
	}
	err := errInAgent
	var trial identity.Trial
	if l.Trial {
		trial, err = identity.Try()
	}
	if err != nil && k.Fence == "" {
		l.unseen(areaKernel, "what this kernel can do", err, asRoot+" on that host")
	}
	k.Tried, k.Trial = err == nil, trial
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Kernel = k
}

func clockState() (read, synced bool) {
	var t unix.Timex // asks, and sets nothing
	state, err := unix.Adjtimex(&t)
	return err == nil, state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}

// chronyd slews by as much as this where its configuration does not say (chrony.conf(5)).
const chronySlew = 1e6 / 12

var slewRate = regexp.MustCompile(`(?mi)^[ \t]*maxslewrate[ \t]+([0-9.]+)`)

// slew is what chronyd may do here, if there is one. Of several lines the last one counts, as for itself.
func (l *looker) slew() float64 {
	if len(l.files("/usr/sbin/chronyd")) == 0 {
		return 0
	}
	most := float64(chronySlew)
	for _, glob := range []string{"/etc/chrony.conf", "/etc/chrony/chrony.conf", "/etc/chrony.d/*.conf", "/etc/chrony/conf.d/*.conf"} {
		for _, path := range l.files(glob) {
			raw, err := os.ReadFile(path)
			if err != nil {
				continue // what it says is not known: the default
			}
			for _, m := range slewRate.FindAllSubmatch(raw, -1) {
				if n, err := strconv.ParseFloat(string(m[1]), 64); err == nil {
					most = n
				}
			}
		}
	}
	return most
}

// owned are the files of other programs that may name addresses.
var owned = []struct{ by, glob string }{
	{"systemd-networkd", "/etc/systemd/network/*.network"},
	{"netplan", "/etc/netplan/*.yaml"},
	{"ifupdown", "/etc/network/interfaces"},
	{"ifupdown", "/etc/network/interfaces.d/*"},
	{"NetworkManager", "/etc/NetworkManager/system-connections/*"},
	{"dhcpcd", "/etc/dhcpcd.conf"},
	{"keepalived", "/etc/keepalived/*.conf"},
	{"kube-vip", "/etc/kubernetes/manifests/*.yaml"},
	{"cloud-init", "/etc/cloud/cloud.cfg.d/*.cfg"},
}

// sparing are the lines by which a manager of links leaves nightporter's alone, and where they stand.
var sparing = []struct {
	finding, glob string
	line          *regexp.Regexp
}{
	{"networkd", "/etc/systemd/networkd.conf*", foreignRules},
	{"networkd", "/etc/systemd/networkd.conf.d/*.conf", foreignRules},
	{"networkd", "/usr/lib/systemd/networkd.conf.d/*.conf", foreignRules},
	{"networkd", "/usr/local/lib/systemd/networkd.conf.d/*.conf", foreignRules},
	{"networkd", "/run/systemd/networkd.conf.d/*.conf", foreignRules},
	{"networkmanager", "/etc/NetworkManager/NetworkManager.conf", unmanaged},
	{"networkmanager", "/etc/NetworkManager/conf.d/*.conf", unmanaged},
	{"networkmanager", "/usr/lib/NetworkManager/conf.d/*.conf", unmanaged},
	{"networkmanager", "/run/NetworkManager/conf.d/*.conf", unmanaged},
	{"dhcpcd", "/etc/dhcpcd.conf", denied},
}

var (
	foreignRules = regexp.MustCompile(`(?mi)^\s*ManageForeignRoutingPolicyRules\s*=\s*(no|false|0|off)\s*$`)
	// Either in [keyfile], or in a section about devices: which they are, and below that in the same section that they are not managed.
	unmanaged = regexp.MustCompile(`(?m)^\s*unmanaged-devices\s*\+?=.*interface-name:(np-\*|\*)` +
		`|^[ \t]*match-device[ \t]*=.*interface-name:(np-\*|\*).*\n([ \t]*([^\[\s].*)?\n)*[ \t]*managed[ \t]*=[ \t]*(0|no|false|off)[ \t]*$`)
	denied = regexp.MustCompile(`(?m)^\s*(denyinterfaces\s.*\bnp-\*|allowinterfaces\s)`)
)

func (l *looker) managers() {
	m := &l.f.Managers
	m.Running = running()
	m.Spared = make(map[string]bool)
	for _, s := range sparing {
		for _, path := range l.files(s.glob) {
			if raw, err := os.ReadFile(path); err == nil && s.line.Match(raw) {
				m.Spared[s.finding] = true
			}
		}
	}
	refused := false
	for _, o := range owned {
		for _, path := range l.files(o.glob) {
			raw, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrPermission) {
				refused = true
			}
			if err != nil {
				continue // a directory, or gone
			}
			for _, s := range l.f.Services {
				for _, a := range s.Addrs {
					if mentions(string(raw), a.String()) {
						m.Mentions = append(m.Mentions, Mention{path, a, o.by})
					}
				}
			}
		}
	}
	if refused {
		l.unseen(areaManagers, "the files of other programs that manage addresses", errors.New("this user may not read all of them"), asRoot)
	}
}

func (l *looker) files(glob string) []string {
	all, _ := filepath.Glob(filepath.Join(l.Root, glob)) // the patterns are constants and sound
	return all
}

// mentions says whether a text names an address outside of a comment.
func mentions(text, addr string) bool {
	inside := func(c byte) bool {
		return c >= '0' && c <= '9' || c == '.' || c == ':' || c >= 'a' && c <= 'f'
	}
	for line := range strings.Lines(strings.ToLower(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.ContainsRune("#;!", rune(line[0])) {
			continue
		}
		for rest, from := line, 0; ; {
			i := strings.Index(rest[from:], addr)
			if i < 0 {
				break
			}
			i += from
			end := i + len(addr)
			if (i == 0 || !inside(rest[i-1])) && (end == len(rest) || !inside(rest[end])) {
				return true
			}
			from = i + 1
		}
	}
	return false
}

// running are the programs of this network that move addresses or manage links, each once.
func running() (out []string) {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return nil
	}
	all, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is a constant and sound
	for _, path := range all {
		raw, err := os.ReadFile(path)
		name := strings.TrimSpace(string(raw))
		_, manages := linkManagers[name]
		if err != nil || !manages && !slices.Contains(movers, name) || slices.Contains(out, name) {
			continue
		}
		if net, err := os.Readlink(filepath.Join(filepath.Dir(path), "ns", "net")); err == nil && net != own {
			continue // another host's, in a lab or a container
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

package doctor

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"nightporter/api"
	"nightporter/config"
	"nightporter/wake"
)

// Host says what is to be looked at, and what is known of it already.
type Host struct {
	Version   string // of this program
	Path      string // of the configuration
	Config    *config.Config
	Node      string      // its name there, as far as it was given
	Problem   error       // why there is no configuration
	Interface string      // that is to be looked at; "" = the configuration's, the agent's, or that of the default route
	Status    *api.Status // of the agent of this host
	StatusErr error       // why there is none
	// Sleeps says why this machine cannot sleep in a way; "" = it can.
	Sleeps func(config.Suspend) string
	Wall   func() time.Time // nil = time.Now
	// Trial has the kernel tried. Not in a process that has identities of its own: the library for nftables counts the sets of all of a
	// process without a lock, and the kernel would have the identities wait for the links of the trial.
	Trial bool
	Test  bool   // test frames are sent from a second MAC, if the host holds no service with one
	Root  string // before the paths of other programs' files; "" = none
}

// Patience is how long Examine takes at most.
const Patience = 8 * time.Second

// Examine looks at this host.
func Examine(ctx context.Context, h Host) api.DoctorNode {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	f := gather(ctx, h)
	return report(f)
}

// report is what a node tells of itself.
func report(f Facts) api.DoctorNode {
	n := api.DoctorNode{
		Node: f.Node, State: StateExamined, At: f.At, Version: f.Version, Digest: f.Digest, Findings: Judge(f),
		Reached: []api.DoctorReach{}, Holds: []api.DoctorHold{}, Heard: []api.DoctorHeard{},
		SecondMAC: f.Second.How, Frames: []api.DoctorFrames{},
	}
	for _, h := range f.Second.Heard {
		n.Frames = append(n.Frames, api.DoctorFrames{From: h.Node, MAC: api.MAC(h.MAC), Own: h.Own, Test: h.Test})
	}
	for _, p := range f.Peers {
		n.Reached = append(n.Reached, p.Ports...)
	}
	for _, s := range f.Services {
		if s.Here {
			mac := s.MAC
			if s.Mode == config.ModeAddress {
				mac = f.Link.MAC
			}
			n.Holds = append(n.Holds, api.DoctorHold{Service: s.Service, Mode: s.Mode, MAC: api.MAC(mac), Addrs: s.Addrs})
		}
		for _, a := range s.Addrs {
			if !f.Claims.Asked {
				continue
			}
			heard := api.DoctorHeard{Service: s.Service, Addr: a, MACs: []api.MAC{}}
			for _, c := range f.Claims.Answers {
				if c.IP == a {
					heard.MACs = append(heard.MACs, api.MAC(c.MAC))
				}
			}
			n.Heard = append(n.Heard, heard)
		}
	}
	return n
}

// looker gathers facts. Its parts run side by side, each for facts of its own.
type looker struct {
	Host
	mu sync.Mutex
	f  Facts
}

func (l *looker) unseen(area, what string, why error, how string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Unseen = append(l.f.Unseen, Unseen{area, what, why.Error(), how})
}

func gather(ctx context.Context, h Host) Facts {
	if h.Wall == nil {
		h.Wall = time.Now
	}
	l := &looker{Host: h}
	l.f.Version, l.f.At = h.Version, h.Wall()
	l.known()
	l.rights()
	l.link()
	l.settings()
	l.machine()
	l.managers()
	l.f.Claims.Own = l.ownAddresses()
	var side sync.WaitGroup
	side.Go(l.kernel)
	side.Go(func() { l.claims(ctx) })
	side.Go(func() { l.ports(ctx) })
	side.Go(l.filter)
	side.Go(func() { l.second(ctx) })
	side.Wait()
	slices.SortFunc(l.f.Unseen, func(a, b Unseen) int { return cmp.Compare(a.What, b.What) })
	return l.f
}

// known takes over what is known already: from the configuration and the agent.
func (l *looker) known() {
	f, c := &l.f, l.Config
	f.Node = l.Node
	f.Config = ConfigFacts{Path: l.Path, Own: c}
	problems, several := errors.AsType[*config.Problems](l.Problem)
	switch {
	case errors.Is(l.Problem, fs.ErrNotExist):
		f.Config.Missing = true
	case errors.Is(l.Problem, fs.ErrPermission):
		l.unseen(areaConfig, "the configuration file "+l.Path, errors.New("this user may not read it"), asRoot)
	case several:
		for _, p := range problems.List {
			p.Source = "" // a sentence is enough: `config check` shows the line
			f.Config.Problems = append(f.Config.Problems, p.String())
		}
	case l.Problem != nil:
		f.Config.Problems = []string{l.Problem.Error()}
	}
	if c != nil {
		f.Node, f.Digest = c.Node, c.Digest
	}
	f.Agent.Status = l.Status
	if c != nil {
		f.Agent.Member = isThere(filepath.Join(c.DataDir, "raft", "raft.db"))
	}
	if l.StatusErr != nil {
		f.Agent.Why, f.Agent.Denied = l.StatusErr.Error(), api.CodeOf(l.StatusErr) == api.CodePermission
		if e, ok := errors.AsType[*api.Error](l.StatusErr); ok {
			f.Agent.Why = e.Message // its hint is the finding's
		}
	}
	if f.Node == "" && l.Status != nil {
		f.Node = l.Status.Node
	}
	if f.Node == "" {
		f.Node, _ = config.HostNode() // a host without a name has none here
	}
	f.Services = l.services()
	f.Peers = l.peers()
	if l.Status != nil {
		f.Claims.Known = true
		for _, n := range l.Status.Nodes {
			for _, m := range n.Wake {
				f.Claims.Members = append(f.Claims.Members, net.HardwareAddr(m))
			}
		}
	}
}

const asRoot = "sudo nightporter doctor"

// services are those of the log, where the agent tells them, else those of the file.
func (l *looker) services() (out []Identity) {
	if l.Status != nil && len(l.Status.Services) > 0 {
		for _, s := range l.Status.Services {
			out = append(out, Identity{Service: s.Name, Mode: s.Mode, MAC: net.HardwareAddr(s.MAC), Addrs: s.Addresses, Here: s.Lease.State == "held" && (s.Role == "serving" || s.Role == "holding")})
		}
		return out
	}
	if l.Config != nil {
		for _, s := range l.Config.Services {
			out = append(out, Identity{Service: s.Name, Mode: cmp.Or(s.Mode, config.ModeMAC), MAC: s.MAC, Addrs: s.Addresses})
		}
	}
	return out
}

// peers are the other hosts: of the log, else of the file.
func (l *looker) peers() (out []Peer) {
	if l.Status != nil && len(l.Status.Nodes) > 1 {
		for _, n := range l.Status.Nodes {
			if n.Name != l.Status.Node && n.Addr.IsValid() {
				out = append(out, Peer{Node: n.Name, Addr: n.Addr.Addr(), Power: n.Power})
			}
		}
		return out
	}
	if l.Config == nil {
		return nil
	}
	for _, j := range l.Config.Join {
		host, _, err := net.SplitHostPort(j)
		if err != nil {
			continue // the file was judged already
		}
		addr, err := netip.ParseAddr(host)
		if err != nil {
			all, lerr := net.LookupHost(host)
			if lerr != nil || len(all) == 0 {
				l.unseen(areaFirewall, "the host "+host, errors.New("its name cannot be resolved"), "write its address under nodes or join")
				continue
			}
			if addr, err = netip.ParseAddr(all[0]); err != nil {
				continue
			}
		}
		if addr != l.Config.Address {
			out = append(out, Peer{Addr: addr.Unmap()})
		}
	}
	return out
}

// machine looks at clock, sleep and cards.
func (l *looker) machine() {
	f, own := &l.f, l.Config
	if f.Clock.Read, f.Clock.Synced = clockState(); !f.Clock.Read {
		l.unseen(areaClock, "whether somebody keeps the wall clock right", errors.New("this process may not ask (adjtimex; the agent's unit takes that away)"), asRoot)
	}
	f.Clock.Slew = l.slew()
	f.Sleep.States, f.Sleep.Asked = fileOrNone("/sys/power/state")
	f.Sleep.Mode = wake.SleepMode()
	if own != nil && own.Power == config.Sleeps {
		if l.Sleeps != nil {
			f.Sleep.Cannot = l.Sleeps(own.Suspend)
		}
		if own.LookAfter > 0 || len(own.StayAwake.WakeAt) > 0 {
			f.Clock.RTC = (&wake.RTC{Root: wake.RTCs}).Trouble()
		}
	}
	l.cards()
}

package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// Load reads the file as the named host sees it, and compares it with the machine that m tells of; nil judges the file alone.
// The error is a *Problems, with everything that is wrong.
func Load(path, node string, m *Machine) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &Problems{List: []Problem{{File: path, Message: unreadable(err)}}}
	}
	return Parse(path, data, node, m)
}

func unreadable(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file; name another one, or make it with `nightporter setup`, on a further host of a cluster with `nightporter setup --join`"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not read the file; run as root"
	}
	return "the file cannot be read: " + err.Error()
}

// Parse is Load for a file that is in memory already; name is what problems call it.
func Parse(name string, data []byte, node string, m *Machine) (*Config, error) {
	r, root := parse(name, data)
	if root == nil {
		return nil, problemsOf(r.problems)
	}
	f := r.file(root)
	r.judgeServices(f.services, nodeNames(f))
	own := r.ownEntry(f, node)
	c := settings(f, own, node)
	c.File = name
	if m != nil {
		r.judgeHost(f, own, c, m)
	}
	if err := problemsOf(r.problems); err != nil {
		return nil, err
	}
	c.Digest = digest(data)
	return c, nil
}

func nodeNames(f file) []string {
	var names []string
	for _, n := range f.nodes {
		if n.name.set {
			names = append(names, n.name.v)
		}
	}
	return names
}

// ownEntry finds what nodes says about this host. A file that has nodes must have this one among them.
func (r *reader) ownEntry(f file, name string) host {
	if why := badName(name, nodeNameLimit); why != "" || name == "" {
		r.problem(place{}, "%q cannot be the name of this host: %s; use a-z, 0-9 and -, and give it with --node", name, why)
	}
	for _, n := range f.nodes {
		if n.name.set && n.name.v == name {
			return n.host
		}
	}
	if names := nodeNames(f); len(names) > 0 {
		r.problem(f.nodesAt, "nodes has no entry for this host, %q; %s, or say with --node which one it is", name, hint(name, names, "add it beside "))
	}
	return host{}
}

// settings fills in the defaults. What stands under nodes goes before the top level.
func settings(f file, own host, name string) *Config {
	runDir := first(own.runDir, f.runDir).or(DefaultRunDir)
	kind, command := suspendOf(f, own)
	c := &Config{
		Cluster:         f.cluster.v,
		Node:            name,
		SecretFile:      f.secretFile.or(DefaultSecretFile),
		Interface:       first(own.iface, f.iface).v,
		Address:         first(own.address, f.address).v,
		GossipPort:      uint16(f.gossipPort.or(DefaultGossipPort)),
		PeerPort:        uint16(f.peerPort.or(DefaultPeerPort)),
		DataDir:         first(own.dataDir, f.dataDir).or(DefaultDataDir),
		RunDir:          runDir,
		Socket:          f.socket.or(filepath.Join(runDir, socketName)),
		SocketGroup:     f.socketGroup.v,
		Failover:        f.failover.or(DefaultFailover),
		BootstrapExpect: f.bootstrapExpect.or(max(1, len(f.nodes))),
		Role:            first(own.role, f.role).or(Member),
		Power:           first(own.power, f.power).or(AlwaysOn),
		LookAfter:       first(own.lookAfter, f.lookAfter).or(DefaultLookAfter),
		Suspend:         kind,
		SuspendCommand:  command,
		SuspendTimeout:  f.suspendTimeout.or(DefaultSuspendTimeout),
		WakeTimeout:     f.wakeTimeout.or(DefaultWakeTimeout),
		WakeHook:        f.wakeHook.v,
		Hooks:           first(own.hooks, f.hooks).or(Hooks{Timeout: DefaultHookTimeout}),
		Webhook:         f.webhook.v,
		Idle:            first(own.idle, f.idle).v,
		StayAwake:       first(own.stayAwake, f.stayAwake).or(DefaultStayAwake()),
		Watts:           wattsOf(f, name),
		WoL:             first(own.wol, f.wol).or(WoLAuto),
		WoLPassword:     password(first(own.wolPassword, f.wolPassword)),
		Canary:          first(own.canary, f.canary).or(CanaryAuto),
		WakeMACs:        first(own.wake, f.wake).v,
		ChecksDir:       first(own.checksDir, f.checksDir).or(DefaultChecksDir),
		OnConflict:      f.onConflict.or(ConflictStop),
		Fence:           f.fence.or(FenceAuto),
		LogLevel:        f.logLevel.or("info"),
		HTTP:            first(own.http, f.http).v.plain(),
		Nodes:           nodeNames(f),
		Services:        plainServices(f.services),
	}
	for i, s := range c.Services {
		if s.MAC == nil && s.Mode != ModeAddress {
			c.Services[i].MAC = DeriveMAC(c.Cluster, s.Name)
		}
	}
	c.Join = peers(f, c)
	c.Notes = append(c.Notes, idleNotes(own, c)...)
	if note := FailoverNote(c.Failover); note != "" {
		c.Notes = append(c.Notes, note)
	}
	return c
}

func first[T any](a, b value[T]) value[T] {
	if a.set {
		return a
	}
	return b
}

// peers gives the addresses to look for the cluster at: those under join, else the other nodes' own.
func peers(f file, c *Config) []string {
	var out []string
	for _, j := range f.join {
		out = append(out, withPort(j.v, c.GossipPort))
	}
	if len(f.join) > 0 {
		return out
	}
	for _, n := range f.nodes {
		if n.name.v != c.Node && n.address.set {
			out = append(out, netip.AddrPortFrom(n.address.v, c.GossipPort).String())
		}
	}
	return out
}

// withPort completes an endpoint that badEndpoint has passed.
func withPort(s string, port uint16) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, port).String()
	}
	if _, _, err := net.SplitHostPort(s); err == nil {
		return s
	}
	return net.JoinHostPort(s, strconv.Itoa(int(port)))
}

// badEndpoint says why something is neither host nor host:port, or "".
func badEndpoint(s string) string {
	if _, err := netip.ParseAddr(s); err == nil {
		return ""
	}
	name := s
	if h, p, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return "the port must be from 1 to 65535"
		}
		if name = h; name != "" && isAddr(name) {
			return ""
		}
	}
	if name == "" || strings.ContainsAny(name, ":/ ") {
		return "write host or host:port, like 192.0.2.11 or [2001:db8::11]:7373"
	}
	if isNumber(strings.ReplaceAll(name, ".", "")) {
		return "it looks like an IPv4 address but is none"
	}
	return ""
}

// CheckEndpoint is nil for a host or host:port, and else says what to write.
func CheckEndpoint(s string) error {
	if why := badEndpoint(s); why != "" {
		return fmt.Errorf("%q is no address: %s", s, why)
	}
	return nil
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// sentence drops the system's words at the end of an error whose own words say the same, and what to do.
func sentence(err error) string {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return err.Error()
	}
	return strings.TrimSuffix(err.Error(), ": "+errors.Unwrap(err).Error())
}

// preferred is the first IPv4 address, else the first one.
func preferred(list []netip.Prefix) netip.Addr {
	for _, p := range list {
		if p.Addr().Is4() {
			return p.Addr()
		}
	}
	return list[0].Addr()
}

// digest sums up what the file says. Comments, order and spacing do not count.
func digest(data []byte) string {
	var tree any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		// What the strict reader took and the plain decoder refuses is summed up byte by byte.
		tree = string(data)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		text = fmt.Appendf(nil, "%v", tree)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

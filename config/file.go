package config

import (
	"net"
	"net/netip"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Limits of names in bytes. A node's name becomes the DNS name of its certificate.
const (
	nodeNameLimit    = 63
	clusterNameLimit = 63
)

// Bounds of the other times in the file.
const (
	shortest = time.Second
	longest  = 10 * time.Minute
)

// host is what can differ from host to host: at the top level for all, under nodes for one.
type host struct {
	iface          value[string]
	address        value[netip.Addr]
	wake           value[[]net.HardwareAddr]
	power          value[Power]
	wol            value[WoL]
	wolPassword    value[string]
	canary         value[Canary]
	suspend        value[Suspend]
	suspendCommand value[[]string]
	dataDir        value[string]
	runDir         value[string]
	checksDir      value[string]
	idle           value[time.Duration]
	stayAwake      value[StayAwake]
	watts          value[Watts]
	role           value[Role]
	lookAfter      value[time.Duration]
	http           value[httpSection]
	hooks          value[Hooks]
}

// node is one entry of nodes.
type node struct {
	name value[string]
	host
}

// file is the whole file with places.
type file struct {
	host
	cluster         value[string]
	secretFile      value[string]
	socket          value[string]
	socketGroup     value[string]
	gossipPort      value[int]
	peerPort        value[int]
	failover        value[time.Duration]
	bootstrapExpect value[int]
	join            []value[string]
	suspendTimeout  value[time.Duration]
	wakeTimeout     value[time.Duration]
	wakeHook        value[string]
	webhook         value[Webhook]
	onConflict      value[OnConflict]
	fence           value[Fence]
	logLevel        value[string]
	nodesAt         place
	nodes           []node
	services        []service
}

// hostFields reads the keys that stand at the top level and under nodes alike.
func (r *reader) hostFields(h *host) fields {
	return fields{
		"interface":    func(_ place, n ast.Node) { h.iface = r.text(n, "the LAN interface's name") },
		"address":      func(_ place, n ast.Node) { h.address = r.addr(n, "host") },
		"power":        func(_ place, n ast.Node) { h.power = oneOf(r, n, AlwaysOn, Sleeps) },
		"wol":          func(_ place, n ast.Node) { h.wol = oneOf(r, n, WoLAuto, WoLAssumed) },
		"wol_password": func(_ place, n ast.Node) { h.wolPassword = r.wolPassword(n) },
		"canary":       func(_ place, n ast.Node) { h.canary = oneOf(r, n, CanaryAuto, CanaryManual, CanaryOff) },
		"suspend": func(_ place, n ast.Node) {
			h.suspend = oneOf(r, n, SuspendDefault, SuspendS2idle, SuspendDeep, SuspendHibernate, SuspendHybrid, SuspendThenHibernate)
		},
		"suspend_command": func(_ place, n ast.Node) { h.suspendCommand = r.words(n) },
		"data_dir":        func(_ place, n ast.Node) { h.dataDir = r.path(n) },
		"run_dir":         func(_ place, n ast.Node) { h.runDir = r.path(n) },
		"checks_dir":      func(_ place, n ast.Node) { h.checksDir = r.path(n) },
		"idle":            func(_ place, n ast.Node) { h.idle = r.idle(n) },
		"role":            func(_ place, n ast.Node) { h.role = oneOf(r, n, Member, Witness) },
		"look_after":      func(_ place, n ast.Node) { h.lookAfter = r.lookAfter(n) },
		"stay_awake":      func(_ place, n ast.Node) { h.stayAwake = r.stayAwake(n) },
		"hooks":           func(_ place, n ast.Node) { h.hooks = r.hooks(n) },
		"watts":           func(_ place, n ast.Node) { h.watts = r.watts(n) },
		"http":            func(_ place, n ast.Node) { h.http = r.http(n) },
		"wake": func(_ place, n ast.Node) {
			h.wake.at = placeOf(n)
			r.list(n, func(e ast.Node) {
				if m := r.mac(e); m.set {
					h.wake.v = append(h.wake.v, m.v)
				}
			})
			h.wake.set = len(h.wake.v) > 0
		},
	}
}

// file reads the top level.
func (r *reader) file(root ast.Node) file {
	var f file
	keys := r.hostFields(&f.host)
	keys["cluster"] = func(_ place, n ast.Node) {
		f.cluster = r.called(r.text(n, "the cluster's name"), "cluster", clusterNameLimit)
	}
	keys["secret_file"] = func(_ place, n ast.Node) { f.secretFile = r.path(n) }
	keys["socket"] = func(_ place, n ast.Node) { f.socket = r.path(n) }
	keys["socket_group"] = func(_ place, n ast.Node) { f.socketGroup = r.text(n, "a group's name") }
	keys["gossip_port"] = func(_ place, n ast.Node) { f.gossipPort = r.integer(n, "a port number", 1, 65535) }
	keys["peer_port"] = func(_ place, n ast.Node) { f.peerPort = r.integer(n, "a port number", 1, 65535) }
	keys["failover"] = func(_ place, n ast.Node) { f.failover = r.duration(n, FailoverMin, FailoverMax) }
	keys["bootstrap_expect"] = func(_ place, n ast.Node) {
		f.bootstrapExpect = r.integer(n, "a number of hosts", 1, 99)
	}
	keys["join"] = func(_ place, n ast.Node) { f.join = r.endpoints(n) }
	keys["suspend_timeout"] = func(_ place, n ast.Node) { f.suspendTimeout = r.duration(n, shortest, longest) }
	keys["wake_timeout"] = func(_ place, n ast.Node) { f.wakeTimeout = r.duration(n, shortest, longest) }
	keys["wake_hook"] = func(_ place, n ast.Node) { f.wakeHook = r.wakeHook(n) }
	keys["webhook"] = func(_ place, n ast.Node) { f.webhook = r.webhook(n) }
	keys["on_conflict"] = func(_ place, n ast.Node) { f.onConflict = oneOf(r, n, ConflictStop, ConflictOverride) }
	keys["fence"] = func(_ place, n ast.Node) { f.fence = oneOf(r, n, FenceAuto, FenceRequired, FenceNFTables) }
	keys["log_level"] = func(_ place, n ast.Node) { f.logLevel = oneOf(r, n, "debug", "info", "warn", "error") }
	keys["nodes"] = func(at place, n ast.Node) { f.nodesAt, f.nodes = at, r.nodes(n) }
	keys["services"] = func(_ place, n ast.Node) { f.services = r.services(n) }
	r.mapping(root, "the file", keys)
	r.judgeSuspend(f.host)
	r.judgeFile(f)
	return f
}

// nodes reads the entries of nodes.
func (r *reader) nodes(n ast.Node) []node {
	var out []node
	r.entries(n, "nodes", func(name string, at place, v ast.Node) {
		e := node{name: r.called(value[string]{name, at, true}, "node", nodeNameLimit)}
		r.mapping(v, "node "+name, r.hostFields(&e.host))
		r.judgeSuspend(e.host)
		out = append(out, e)
	})
	return out
}

// judgeFile compares the parts of the file with each other.
func (r *reader) judgeFile(f file) {
	if !f.cluster.set && !r.has("cluster") {
		r.problem(place{}, "there is no key cluster; write `cluster: NAME`, the same on every host")
	}
	if f.gossipPort.or(DefaultGossipPort) == f.peerPort.or(DefaultPeerPort) {
		at := f.gossipPort.at
		if f.peerPort.set {
			at = f.peerPort.at
		}
		r.problem(at, "gossip_port and peer_port are both %d; choose two different ones", f.peerPort.or(DefaultPeerPort))
	}
	if len(f.nodes) > 0 {
		const hint = "%s at the top level would be the same for every host; write it under nodes"
		if f.address.set {
			r.problem(f.address.at, hint, "address")
		}
		if f.wake.set {
			r.problem(f.wake.at, hint, "wake")
		}
	}
	if f.bootstrapExpect.set && len(f.nodes) > 0 && f.bootstrapExpect.v > len(f.nodes) {
		r.problem(f.bootstrapExpect.at, "bootstrap_expect waits for %d hosts, but nodes has only %d; lower it or add the others", f.bootstrapExpect.v, len(f.nodes))
	}
	r.judgeRoles(f)
	r.judgeHTTP(f.host, f)
	for _, n := range f.nodes {
		r.judgeHTTP(n.host, f)
	}
	addrs, macs := map[netip.Addr]place{}, map[string]place{}
	for _, n := range f.nodes {
		if n.address.set {
			again(r, addrs, n.address.v, n.address.at, "the address %s belongs to two nodes (first in line %d); correct one of them")
		}
		for _, m := range n.wake.v {
			again(r, macs, m.String(), n.wake.at, "the hardware address %s belongs to two nodes (first in line %d); correct one of them")
		}
	}
	for _, s := range f.services {
		for _, a := range s.addresses {
			if at, taken := addrs[a.v]; taken {
				r.problem(a.at, "%s is the address of a node (line %d); choose one that no host has", a.v, at.line)
			}
		}
		if at, taken := macs[s.mac.v.String()]; taken && s.mac.set {
			r.problem(s.mac.at, "%s is the hardware address of a node (line %d); leave mac out and the service gets one of its own", s.mac.v, at.line)
		}
	}
}

// has tells whether a problem was found at a line that begins with the key: then it is not missing as well.
func (r *reader) has(key string) bool {
	for _, p := range r.problems {
		if len(p.Source) > len(key) && p.Source[:len(key)] == key {
			return true
		}
	}
	return false
}

// endpoints reads host or host:port entries.
func (r *reader) endpoints(n ast.Node) []value[string] {
	var out []value[string]
	r.list(n, func(e ast.Node) {
		v := r.text(e, "an address like 192.0.2.11 or a host's name")
		if !v.set {
			return
		}
		if why := badEndpoint(v.v); why != "" {
			r.problem(v.at, "%q is not an address to join: %s", v.v, why)
			return
		}
		out = append(out, v)
	})
	return out
}

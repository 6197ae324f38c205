package config

import (
	"errors"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
)

// judgeHost compares the file with this host: its interface, its addresses, its secret file.
func (r *reader) judgeHost(f file, own host, c *Config, m *Machine) {
	r.judgeSurroundings(f, own, c, m)
	r.judgePassword(f, own, c)
	if c.Interface == "" {
		if !r.has("interface") {
			r.problem(place{}, "there is no interface for this host; write `interface: eth0`, the LAN interface, at the top level or under nodes")
		}
		return
	}
	ifaceAt := first(own.iface, f.iface).at
	list, err := m.Prefixes(c.Interface)
	if err != nil {
		r.problem(ifaceAt, "interface %s cannot be used: %s", c.Interface, sentence(err))
		return
	}
	if len(list) == 0 {
		r.problem(ifaceAt, "interface %s has no address; wait until it has one (After=network-online.target), or name another", c.Interface)
		return
	}
	where := "interface " + c.Interface
	if !c.Address.IsValid() {
		c.Address = preferred(lasting(list))
	} else if !slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr() == c.Address }) {
		r.problem(first(own.address, f.address).at, "%s is not an address of %s, which has %s; correct it, or leave it out to take the first IPv4 address", c.Address, where, joined(list))
	}
	if c.Role != Witness { // which carries none of them
		r.judgeAddresses(f.services, list, where)
	}
}

// lasting leaves out what a service in mode address may be leaving on the interface right now: addresses without a network, where
// there are others.
func lasting(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if !p.IsSingleIP() {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return list
	}
	return out
}

// judgeSurroundings looks at what the file names beside the interface: the secret file, the socket's group, the suspend
// command, the run directory.
func (r *reader) judgeSurroundings(f file, own host, c *Config, m *Machine) {
	if err := statSecret(c.SecretFile); err != nil && !r.has("secret_file") {
		r.problem(f.secretFile.at, "%s", sentence(err))
	} else if err == nil {
		_, err = ReadSecrets(c.SecretFile)
		if errors.Is(err, fs.ErrPermission) {
			c.Notes = append(c.Notes, "the secret file "+c.SecretFile+" cannot be read by this user, so nobody looked into it")
		} else if err != nil && !r.has("secret_file") {
			r.problem(f.secretFile.at, "%s", err)
		}
	}
	if c.SocketGroup != "" && !m.HasGroup(c.SocketGroup) {
		r.problem(f.socketGroup.at, "there is no group %q on this host; make it with `groupadd --system %s`, or name another", c.SocketGroup, c.SocketGroup)
	}
	if c.Power == Sleeps && !m.HasCommand(c.SuspendCommand[0]) {
		at := first(own.suspendCommand, f.suspendCommand).at
		if c.Suspend != SuspendOwn {
			at = first(own.suspend, f.suspend).at
		}
		if at == (place{}) {
			at = first(own.power, f.power).at
		}
		r.problem(at, "the suspend command %q is not on this host; write the one that suspends it, like `suspend_command: [systemctl, suspend]`", c.SuspendCommand[0])
	}
	for _, s := range c.Services {
		for _, k := range s.Checks {
			path := filepath.Join(c.ChecksDir, k.Name)
			if k.Kind == "exec" && slices.Contains(s.Targets, c.Node) && !m.HasFile(path) {
				c.Notes = append(c.Notes, "this host is a target of service "+s.Name+", and has no executable "+path+" for its check: it is not ready for the service until it has")
			}
		}
	}
	if path := filepath.Join(c.ChecksDir, c.WakeHook); c.WakeHook != "" && !m.HasFile(path) {
		c.Notes = append(c.Notes, "this host has no executable "+path+", which wake_hook names: a host that does not wake gets no more than magic packets from here")
	}
	c.Notes = append(c.Notes, hookNotes(c, m)...)
	c.Notes = append(c.Notes, missingBusy(c, m)...)
	c.Notes = append(c.Notes, httpNotes(c)...)
	c.Notes = append(c.Notes, sleepNotes(c, m)...)
	if m.OnDisk(c.RunDir) {
		c.Notes = append(c.Notes, "run_dir "+c.RunDir+" is not on a tmpfs, so the lease table is written to a disk with each renewal; /run is the usual place")
	}
}

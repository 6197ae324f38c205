package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what a file is compared with.
type Machine struct {
	Prefixes   func(iface string) ([]netip.Prefix, error) // the addresses of an interface with their prefix lengths
	HasGroup   func(name string) bool
	HasCommand func(name string) bool
	HasFile    func(path string) bool
	// Sleeps says, in one sentence, why the machine cannot sleep in a way, or why that is not known; "" = it can. nil: nobody looks.
	Sleeps func(Suspend) string
	OnDisk func(dir string) bool // the directory, or where it would be made, is known not to be in memory
}

// ThisMachine is the host that this program runs on.
func ThisMachine() *Machine {
	return &Machine{Prefixes: LocalPrefixes, HasGroup: hasGroup, HasCommand: hasCommand, HasFile: hasFile, OnDisk: onDisk}
}

func hasGroup(name string) bool {
	_, err := user.LookupGroup(name)
	return err == nil
}

func hasCommand(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

func hasFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func onDisk(dir string) bool {
	var fs unix.Statfs_t
	for unix.Statfs(dir, &fs) != nil {
		if dir == filepath.Dir(dir) {
			return false
		}
		dir = filepath.Dir(dir)
	}
	return uint32(fs.Type) != unix.TMPFS_MAGIC && uint32(fs.Type) != unix.RAMFS_MAGIC // 32 bits everywhere, signed on some
}

// LocalPrefixes gives the addresses of an interface of this host with their prefix lengths, link-local ones left out.
func LocalPrefixes(iface string) ([]netip.Prefix, error) {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("this host has no such interface; %s", presentInterfaces())
	}
	if link.Flags&net.FlagLoopback != 0 {
		return nil, fmt.Errorf("it is the loopback; name the interface that is plugged into the LAN; %s", presentInterfaces())
	}
	addrs, err := link.Addrs()
	if err != nil {
		return nil, fmt.Errorf("read the addresses of %s: %w", iface, err)
	}
	var out []netip.Prefix
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p)
		}
	}
	return out, nil
}

func presentInterfaces() string {
	links, err := net.Interfaces()
	if err != nil || len(links) == 0 {
		return "its interfaces cannot be listed"
	}
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.Name
	}
	return "it has " + strings.Join(names, ", ")
}

// HostNode is the name under which this host looks for itself: the first label of its host name, in lower case.
func HostNode() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("read this host's name (give one with --node): %w", err)
	}
	label, _, _ := strings.Cut(name, ".")
	return strings.ToLower(label), nil
}

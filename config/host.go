package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
)

// LocalPrefixes gives the addresses of an interface of this host with their prefix lengths, link-local ones left out.
func LocalPrefixes(iface string) ([]netip.Prefix, error) {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("this host has no such interface; %s", presentInterfaces())
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

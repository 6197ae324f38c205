package doctor

import "nightporter/api"

var lanEntries = []Entry{
	{
		"address-conflict", areaConflict, api.Fail, "A stranger in the LAN answers for a service's address. In mode address, where the members' cards are not known, it is a warning: it may be a member.",
		"Clients reach it instead of the service, and no member takes the address (`on_conflict: stop`).", "Find it by its MAC (`ip neigh`, the switch's table), and give it another address, or the service; take the address out of the DHCP server's range.", "RFC 5227; RFC 4862, 5.4",
	},
	{
		"address-here", areaConflict, api.Fail, "This host has a service's address by somebody else's doing, on an interface that is not nightporter's.",
		"It answers for the address whoever holds it, without lease and fence.", "`ip address del 192.0.2.200/24 dev eth0`, and take it out of what sets it.", "docs/design.md, I1",
	},
	{
		"vip-manager", areaManagers, api.Warn, "A program that moves addresses between hosts runs here: keepalived, kube-vip, ucarp, vrrpd, vip-manager, pacemaker, corosync.",
		"It must have other addresses than nightporter; both would take one.", "`systemctl disable --now keepalived`, if it is for the same addresses.", "docs/design.md, I1",
	},
	{
		"address-configured", areaManagers, api.Fail, "A file of another program on this host names a service's address: of NetworkManager, networkd, netplan, ifupdown, dhcpcd, keepalived, kube-vip.",
		"That program sets the address at the next boot, without lease and fence.", "Take the address out of that file.", "docs/design.md, I1",
	},
	{
		"networkd", areaManagers, api.Warn, "systemd-networkd runs, and has not been told to leave the routing rules of others alone.",
		"When it is started again it removes rules and routes that it does not know, the services' among them; the agent puts them back, and for a moment clients get no answer.",
		"`mkdir -p /etc/systemd/networkd.conf.d; printf '[Network]\\nManageForeignRoutingPolicyRules=no\\nManageForeignRoutes=no\\n' > /etc/systemd/networkd.conf.d/nightporter.conf; systemctl restart systemd-networkd`", "networkd.conf(5)",
	},
	{
		"networkmanager", areaManagers, api.Warn, "NetworkManager runs, and has not been told to leave nightporter's interfaces alone.",
		"It may ask for an address on each new link, and takes down what it does not know.",
		"`printf '[keyfile]\\nunmanaged-devices+=interface-name:np-*\\n' > /etc/NetworkManager/conf.d/nightporter.conf; systemctl reload NetworkManager`", "NetworkManager.conf(5): unmanaged-devices",
	},
	{
		"dhcpcd", areaManagers, api.Warn, "dhcpcd runs on all interfaces, nightporter's among them.",
		"It asks for an address with the service's MAC, from every host that has it prepared.", "`echo 'denyinterfaces np-*' >> /etc/dhcpcd.conf; systemctl restart dhcpcd`", "dhcpcd.conf(5): denyinterfaces",
	},
	{
		"port-blocked", areaFirewall, api.Fail, "Another host is there, and one of nightporter's ports on it gives no answer, or an ICMP error.",
		"Gossip (7373, UDP and TCP) tells who is alive and carries the leases; Raft and requests go over 7374, TCP. Where they do not arrive, hosts are taken for dead or the log does not reach them.",
		"On that host: `nft insert rule inet filter input tcp dport { 7373, 7374 } accept; nft insert rule inet filter input udp dport 7373 accept`, or `ufw allow from 192.0.2.0/24 to any port 7373,7374 proto tcp`, `ufw allow from 192.0.2.0/24 to any port 7373 proto udp`; `firewall-cmd --permanent --add-port={7373/udp,7373/tcp,7374/tcp}`. If only 7373/udp gives no answer, also compare the secret files (`sha256sum /etc/nightporter/secret`).", "docs/design.md, Who decides what; nft(8)",
	},
	{
		"blocked-one-way", areaFirewall, api.Fail, "Of two hosts one reaches the other's port and not the other way round.",
		"It is the classic fault: gossip has both alive by detours, while leases and entries of the log are lost in one direction.", "As for `port-blocked`, on the host that is not reached.", "docs/design.md, Whom the log does not reach",
	},
	{
		"port-refused", areaFirewall, api.Warn, "Another host refuses connections to one of nightporter's ports.",
		"No agent runs there, or a firewall there rejects.", "There: `systemctl status nightporter`; then as for `port-blocked`.", "RFC 9293, 3.10.7.1",
	},
	{
		"peer-silent", areaFirewall, api.Warn, "Another host gives no answer at any port, or nobody has its address.",
		"It is off, asleep, or not in this LAN.", "Switch it on; compare its address with `nodes` in the configuration.", "RFC 826",
	},
	{
		"firewall-drops", areaFirewall, api.Note, "This host has a packet filter that drops what no rule lets in.",
		"The other hosts must get in at nightporter's ports, and clients at the services'.", "`nightporter doctor --peers` shows whether they do; else as for `port-blocked`.", "nft(8): policy",
	},
	{
		"cut-off", areaFirewall, api.Fail, "None of several other hosts that should be awake gives an answer at any port.",
		"It is more likely this host's own network than all of theirs: it has no majority, and what it holds falls silent.", "`ip -s link show dev eth0`; the cable, the switch's port and its VLAN; a firewall on this host; then the others.", "RFC 826",
	},
	{
		"second-mac-unseen", areaPorts, api.Fail, "With `--test-mac`: a host that holds no service has sent frames from its card's MAC and from another one, and others have heard the first sort alone.",
		"The switch's port allows one MAC (port security, 802.1X), or the card, the access point or the virtual switch does: when this host takes a service over nobody hears it.",
		"Cisco: `switchport port-security maximum 4`, and no `sticky`; VMware: allow forged transmits; Wi-Fi: a cable; without a way to change it write `mode: address`.", "IEEE 802.1X; docs/design.md, Two modes",
	},
	{
		"second-mac-untried", areaPorts, api.Note, "A host that could take a service with a MAC of its own holds none now, so nobody knows whether the switch lets a second MAC pass there.",
		"It would show when this host takes a service over.",
		"`nightporter doctor --peers --test-mac`, when a port that a switch shuts down would do no harm; or `nightporter move SERVICE HOST` and `nightporter doctor --peers`.", "docs/design.md, Two modes",
	},
	{
		"mac0-unseen", areaPorts, api.Fail, "A host holds a service, and another one that reaches it otherwise hears nothing when it asks the LAN for the service's address.",
		"Frames with the service's MAC do not arrive: the switch's port allows one MAC (port security, 802.1X), or a virtual switch does.",
		"Cisco: `switchport port-security maximum 4`, and no `sticky`; without a way to change the switch write `mode: address`. A service that was just moved is no fault: ask again.", "IEEE 802.1X; docs/design.md, Two modes",
	},
}

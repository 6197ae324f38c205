package doctor

import "nightporter/api"

var linkEntries = []Entry{
	{
		"interface-missing", areaInterface, api.Fail, "The interface does not exist; or none was named and there is no default route to tell.",
		"It carries every service's identity.", "Write the right one in the configuration (`interface:`), or name it with --interface.", "ip-link(8)",
	},
	{
		"interface-down", areaInterface, api.Fail, "The interface is down or has no carrier.",
		"Nothing can be reached by it.", "`ip link set dev eth0 up`; look at the cable and the switch's port.", "ip-link(8)",
	},
	{
		"interface-address", areaInterface, api.Fail, "The interface has no address but link-local ones.",
		"The hosts find each other by their own addresses on it.", "Configure one, by hand or by DHCP.", "ip-address(8)",
	},
	{
		"wifi", areaInterface, api.Fail, "The interface is a Wi-Fi station, and there are services in mode mac; without these it is a note.",
		"An access point accepts one MAC for each station: frames with a service's own MAC are dropped.", "Use a cable, or write `mode: address` for the services.",
		"IEEE 802.11 (three-address frames); /sys/class/net/*/phy80211",
	},
	{
		"enslaved", areaInterface, api.Fail, "The interface is a port of a bridge, bond, team or another one above it.",
		"Its frames belong to the one above: no macvlan can sit on it.", "Write that one in the configuration: `interface: br0`.", "ip-link(8), macvlan_port_create (EBUSY)",
	},
	{
		"bridge-stp", areaInterface, api.Warn, "The interface is a bridge with the spanning tree protocol on.",
		"After each change of a link a port forwards nothing for twice the forward delay, 30 s by default: longer than any failover.",
		"`ip link set dev br0 type bridge stp_state 0` where nothing can be looped, else set forward_delay lower.", "IEEE 802.1D, ip-link(8)",
	},
	{
		"bond-mode", areaInterface, api.Fail, "The interface is a bond in mode balance-tlb or balance-alb; it is a warning with balance-rr, balance-xor and broadcast.",
		"balance-tlb and balance-alb put the MACs of their own cards into frames and ARP answers: clients learn one that is not the service's. The others need a static aggregate at the switch.",
		"Use active-backup or 802.3ad: `ip link set dev bond0 type bond mode active-backup`.", "Documentation/networking/bonding.rst",
	},
	{
		"vlan", areaInterface, api.Note, "The interface is a VLAN on a card.",
		"Magic packets come to a sleeping card with the VLAN's tag, and some cards do not know them then.", "`nightporter canary` shows whether it wakes; if not, have the switch send the VLAN untagged.", "IEEE 802.1Q",
	},
	{
		"macvlan-lower", areaInterface, api.Warn, "The interface is itself a macvlan or ipvlan, as in a container. An ipvlan, and a macvlan in mode passthru or private, is a failure with services in mode mac.",
		"An ipvlan has one MAC for all. Macvlans of one card in mode private do not hear each other, and passthru allows no other.", "Give the container a veth on a bridge, or a macvlan in mode bridge; or write `mode: address`.", "ip-link(8)",
	},
	{
		"virtual-switch", areaInterface, api.Warn, "The machine is a guest of VMware, Hyper-V, VirtualBox or a public cloud. Of QEMU or KVM it is a note.",
		"Their switches pass only the MAC that they gave to the guest, unless they are told otherwise: a service's own MAC is neither sent nor heard.",
		"VMware: allow promiscuous mode, MAC address changes and forged transmits at the port group. Hyper-V: `Set-VMNetworkAdapter -MacAddressSpoofing On`. VirtualBox: promiscuous mode \"allow all\". In a cloud: neither mode works without the provider's help. Or write `mode: address`.",
		"VMware: Securing vSphere standard switch ports; Hyper-V: Set-VMNetworkAdapter",
	},
	{
		"virtual-function", areaInterface, api.Warn, "The card is an SR-IOV virtual function.",
		"The card drops frames with another MAC than the function's, unless the host trusts it.", "On the host: `ip link set dev PF vf N trust on spoofchk off`.", "ip-link(8)",
	},
	{
		"two-interfaces", areaInterface, api.Warn, "Another interface of this host has an address in the same network.",
		"Answers may leave by the other one; with rp_filter=1 or arp_filter=1 the kernel drops what comes in by the one that it would not answer by.",
		"Give one of them another network, or take it down.", "Documentation/networking/ip-sysctl.rst: rp_filter, arp_filter",
	},
	{
		"wol-unsupported", areaWoL, api.Fail, "No card beneath the interface knows Wake-on-LAN, and this host is to sleep (`power: sleeps`, without `wol: assumed`). Without a configuration it is a note.",
		"Nobody could wake it.", "Switch it on in the firmware (Wake-on-LAN on; ErP and deep sleep off); use a card that has it; or write `wol: assumed` where something else wakes it.", "ethtool(8): wol",
	},
	{
		"wol-unarmed", areaWoL, api.Note, "The card knows Wake-on-LAN, and it is off now. It is a warning where the agent runs, which arms it.",
		"The agent arms it before each sleep. A host that is shut down or suspended by others before the agent has run is not woken.", "`ethtool -s eno1 wol g`", "ethtool(8): wol",
	},
	{
		"wol-stray", areaWoL, api.Warn, "The card wakes on more than magic packets.",
		"Any frame to the host, or each question for its address, wakes it again.", "`ethtool -s eno1 wol g`", "ethtool(8): wol",
	},
	{
		"wol-device", areaWoL, api.Warn, "The kernel does not let the card's device wake the machine.",
		"A magic packet reaches a card that may not say so.", "`echo enabled > /sys/class/net/eno1/device/power/wakeup`", "Documentation/ABI/testing/sysfs-devices-power",
	},
	{
		"arp-ignore", areaARP, api.Fail, "arp_ignore is 2 or 8 for new interfaces or, with services in mode address, on the interface itself.",
		"With 2 the kernel answers only who has an address in the same network as the address asked for, which for an address alone (/32) is nobody; with 8 it answers nobody. The holder would be silent.",
		"`sysctl -w net.ipv4.conf.default.arp_ignore=0 net.ipv4.conf.eth0.arp_ignore=0`, and take the line out of /etc/sysctl.d.", "Documentation/networking/ip-sysctl.rst: arp_ignore",
	},
	{
		"arp-settings", areaARP, api.Warn, "The agent runs, and arp_ignore is not 1 or arp_announce not 2 any more.",
		"The agent sets them when it starts: without them the host answers for the services' addresses by its own MAC as well. Somebody has changed them since.",
		"`sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2`, and take other values out of /etc/sysctl.d.", "Documentation/networking/ip-sysctl.rst: arp_ignore, arp_announce",
	},
	{
		"arp-filter", areaARP, api.Warn, "arp_filter is 1.",
		"Whether the kernel answers for a service's address depends on its routes then, by the address of who asks.", "`sysctl -w net.ipv4.conf.all.arp_filter=0 net.ipv4.conf.default.arp_filter=0`", "Documentation/networking/ip-sysctl.rst: arp_filter",
	},
	{
		"rp-filter", areaARP, api.Note, "rp_filter is 1 (strict) for the interface.",
		"It does no harm by itself. Packets of clients behind a router that answers by another interface are dropped.", "`sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.eth0.rp_filter=2` where that is so.", "RFC 3704; Documentation/networking/ip-sysctl.rst: rp_filter",
	},
	{
		"proxy-arp", areaARP, api.Fail, "proxy_arp is on for the interface.",
		"This host answers for addresses that it has routes to elsewhere, those of the services among them: a second holder, by another MAC.", "`sysctl -w net.ipv4.conf.all.proxy_arp=0 net.ipv4.conf.eth0.proxy_arp=0`", "RFC 1027; Documentation/networking/ip-sysctl.rst: proxy_arp",
	},
	{
		"ipv6-disabled", areaARP, api.Fail, "IPv6 is off on the interface or for new ones, and a service has an IPv6 address.",
		"The address cannot be set.", "`sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0`", "Documentation/networking/ip-sysctl.rst: disable_ipv6",
	},
}

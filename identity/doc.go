// Package identity is this host's hold on a floating identity: the macvlan with mac0 and ip0, the fence that ends it, the
// guard that keeps it silent, the routes that keep its packets on it, the announcements that lead the switches to it, and the
// seal that keeps in what outlives it.
//
// The order that everything here keeps: the fence stands before anything could send (Prepare), it is closed before
// anything is taken down, and the seal is in force before it goes (Remove, Sweep); between those two opening and closing
// are one nftables batch each. DESIGN.md has the reasons.
//
// Linux 5.16 or later (nftables' netdev egress hook), CAP_NET_ADMIN and CAP_NET_RAW in the network namespace; no BPF.
package identity

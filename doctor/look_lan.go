package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/config"
	"nightporter/identity"
)

// claimWait is how long the LAN has to answer who has an address; it is asked twice in that time (RFC 5227 waits for 1 to 2 s).
const claimWait = time.Second

// claims asks the LAN.
func (l *looker) claims(ctx context.Context) {
	var addrs []netip.Addr
	for _, s := range l.f.Services {
		addrs = append(addrs, s.Addrs...)
	}
	if len(addrs) == 0 || !l.f.Link.Found || !l.f.Link.Up {
		return
	}
	answers, err := identity.Inquire(ctx, l.f.Link.Name, addrs, claimWait)
	if err != nil {
		l.unseen(areaConflict, "whether a stranger has one of the services' addresses", err, asRoot)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Claims.Asked, l.f.Claims.Answers = true, answers
}

// dialWait is how long another host has to take a connection: the kernel has asked twice by then.
const dialWait = 1500 * time.Millisecond

// ports tries those of the other hosts that are awake.
func (l *looker) ports(ctx context.Context) {
	gossip, peer := uint16(config.DefaultGossipPort), uint16(config.DefaultPeerPort)
	var from netip.Addr
	if c := l.Config; c != nil {
		gossip, peer, from = c.GossipPort, c.PeerPort, c.Address
	}
	var side sync.WaitGroup
	peers := l.f.Peers
	tcp, udp := make([][2]api.DoctorReach, len(peers)), make([]api.DoctorReach, len(peers))
	side.Go(func() { l.ping(ctx, from, peers, gossip, udp) })
	for i, p := range peers {
		if !awake(p) {
			continue
		}
		for j, port := range []uint16{gossip, peer} {
			side.Go(func() { tcp[i][j] = dial(ctx, p, from, port) })
		}
	}
	side.Wait()
	for i := range peers {
		for _, r := range append(tcp[i][:], udp[i]) {
			if r.Result != "" { // it was tried
				peers[i].Ports = append(peers[i].Ports, r)
			}
		}
	}
}

// awake says whether there is a point in trying.
func awake(p Peer) bool { return p.Power == "" || p.Power == "awake" }

// dial opens a connection and says nothing on it.
func dial(ctx context.Context, p Peer, from netip.Addr, port uint16) api.DoctorReach {
	r := api.DoctorReach{To: p.Node, Addr: netip.AddrPortFrom(p.Addr, port), Proto: "tcp", Result: reachOK}
	d := net.Dialer{Timeout: dialWait}
	if from.IsValid() && from.Is4() == p.Addr.Is4() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	c, err := d.DialContext(ctx, "tcp", r.Addr.String())
	if err == nil {
		c.Close()
		return r
	}
	r.Result, r.Detail = verdict(err)
	return r
}

// verdict says what became of an attempt.
func verdict(err error) (result, detail string) {
	var timeout net.Error
	for _, no := range []syscall.Errno{syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EACCES, syscall.EPERM, syscall.ENOPROTOOPT} {
		if errors.Is(err, no) {
			return reachUnreachable, no.Error()
		}
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return reachRefused, ""
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return reachSilent, ""
	}
	return reachUnknown, err.Error()
}

// ping tries gossip's port by UDP.
func (l *looker) ping(ctx context.Context, from netip.Addr, peers []Peer, port uint16, out []api.DoctorReach) {
	var to []netip.AddrPort
	var which []int
	if l.Config == nil && slices.ContainsFunc(peers, awake) {
		l.unseen(areaFirewall, fmt.Sprintf("port %d/udp of the other hosts", port), errors.New("without a configuration nobody knows the secret"), "nightporter doctor --config FILE")
		return
	}
	for i, p := range peers {
		if awake(p) && from.Is4() == p.Addr.Is4() {
			to, which = append(to, netip.AddrPortFrom(p.Addr, port)), append(which, i)
		}
	}
	if len(to) == 0 {
		return
	}
	answers, err := l.pinged(ctx, from, to)
	if err != nil {
		l.unseen(areaFirewall, fmt.Sprintf("port %d/udp of the other hosts", port), err, asRoot)
		return
	}
	for j, i := range which {
		r := api.DoctorReach{To: peers[i].Node, Addr: to[j], Proto: "udp", Result: reachOK}
		switch err := answers[j]; {
		case errors.Is(err, cluster.ErrNoAnswer):
			r.Result = reachSilent
		case err != nil:
			r.Result, r.Detail = verdict(err)
		}
		out[i] = r
	}
}

func (l *looker) pinged(ctx context.Context, from netip.Addr, to []netip.AddrPort) ([]error, error) {
	c := l.Config
	secrets, err := config.ReadSecrets(c.SecretFile)
	if err != nil {
		return nil, err
	}
	keys, err := cluster.DeriveAll(secrets, c.Cluster)
	if err != nil {
		return nil, err
	}
	return cluster.Ping(ctx, keys, from, to)
}

// ours begins the names of the agent's own tables.
const ours = "nightporter-"

// filter looks for chains on the way in that drop what no rule lets pass.
func (l *looker) filter() {
	var f Filter
	conn, err := nftables.New()
	var chains []*nftables.Chain
	if err == nil {
		chains, err = conn.ListChains()
	}
	if err != nil {
		l.unseen(areaFirewall, "the packet filter of this host", err, asRoot)
		return
	}
	f.Read = true
	for _, c := range chains {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookInput || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop || strings.HasPrefix(c.Table.Name, ours) {
			continue
		}
		family := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6"}[c.Table.Family]
		if family != "" {
			f.Drops = append(f.Drops, family+" "+c.Table.Name+" "+c.Name)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Filter = f
}

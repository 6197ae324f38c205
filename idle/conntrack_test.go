package idle

import (
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// publish sends what comes to a port of the host on to another address, as Docker does for a container.
func publish(t *testing.T, host *space, protocol byte, port uint16, to netip.AddrPort) {
	t.Helper()
	must(t, host.do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "docker"})
		chain := c.AddChain(&nftables.Chain{Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Register: 1, Data: []byte{protocol}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
			&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
		}})
		return c.Flush()
	}))
}

func sysctl(t *testing.T, host *space, path, value string) {
	t.Helper()
	must(t, host.do(func() error { return os.WriteFile(path, []byte(value), 0o644) }))
}

func tracked(t *testing.T, host *space, protocol string, port uint16) (track Track, found, counted bool) {
	t.Helper()
	must(t, host.do(func() error {
		all, c, err := Tracked()
		counted = c
		i := slices.IndexFunc(all, func(t Track) bool { return t.Protocol == protocol && t.Dest.Port() == port })
		if found = i >= 0; found {
			track = all[i]
		}
		return err
	}))
	return track, found, counted
}

// Where nothing is tracked, that is no error, and nothing is asked for.
func TestTrackingThatIsNotInUse(t *testing.T) {
	host := newSpace(t)
	if _, found, counted := tracked(t, host, "tcp", 80); found || !counted {
		t.Error(found, counted)
	}
}

// A client of a container: the host has no socket for it, and the kernel counts what it carries.
func TestTrackedFlowsOfAContainer(t *testing.T) {
	host, client := lan(t)
	must(t, host.do(func() error { return set("lo", "10.88.0.2/32") })) // it stands for the container's address
	publish(t, host, unix.IPPROTO_TCP, 80, netip.MustParseAddrPort("10.88.0.2:8080"))
	sysctl(t, host, trackAccounting, "1")
	var l net.Listener
	must(t, host.do(func() (err error) { l, err = net.Listen("tcp", "10.88.0.2:8080"); return err }))
	defer l.Close()
	var remote net.Conn
	must(t, client.do(func() (err error) { remote, err = net.Dial("tcp", "10.77.0.200:80"); return err }))
	defer remote.Close()
	server, err := l.Accept()
	must(t, err)
	defer server.Close()
	before, ok, counted := tracked(t, host, "tcp", 80)
	if !ok || !counted || !before.Translated || before.Dest.String() != "10.77.0.200:80" || before.Client.String() != remote.LocalAddr().String() || before.Received != 0 || before.Sent != 0 {
		t.Fatalf("%+v, %v, %v", before, ok, counted)
	}
	translated := func() (c Conn) {
		t.Helper()
		must(t, host.do(func() error {
			all, err := Translated()
			if len(all) != 1 || all[0].Local != before.Dest || all[0].Remote != before.Client {
				t.Fatalf("%+v", all)
			}
			c = all[0]
			return err
		}))
		return c
	}
	if c := translated(); c.Received != 0 || c.Vague {
		t.Errorf("before anything was said: %+v", c)
	}
	sysctl(t, host, trackAccounting, "0")
	if c := translated(); !c.Vague {
		t.Errorf("without counters: %+v", c)
	}
	sysctl(t, host, trackAccounting, "1")
	_, err = remote.Write(make([]byte, 1000))
	must(t, err)
	_, err = io.ReadFull(server, make([]byte, 1000))
	must(t, err)
	_, err = server.Write(make([]byte, 20_000))
	must(t, err)
	_, err = io.ReadFull(remote, make([]byte, 20_000))
	must(t, err)
	await(t, "what was carried is counted, to some bytes", func() bool {
		now, ok, _ := tracked(t, host, "tcp", 80)
		return ok && now.Key() == before.Key() && now.Received >= 900 && now.Received <= 1000 && now.Sent >= 19_900 && now.Sent <= 20_000
	})
	if c := translated(); c.Received < 900 || c.Vague {
		t.Errorf("after something was said: %+v", c)
	}
}

// Datagrams are seen by connection tracking alone; without its counters that is said.
func TestTrackedDatagrams(t *testing.T) {
	host, client := lan(t)
	publish(t, host, unix.IPPROTO_TCP, 1, netip.MustParseAddrPort("10.88.0.2:1")) // any rule of this kind begins the tracking
	var l net.PacketConn
	must(t, host.do(func() (err error) { l, err = net.ListenPacket("udp", "10.77.0.200:53"); return err }))
	defer l.Close()
	exchange := func() {
		var remote net.Conn
		must(t, client.do(func() (err error) { remote, err = net.Dial("udp", "10.77.0.200:53"); return err }))
		defer remote.Close()
		_, err := remote.Write(make([]byte, 100))
		must(t, err)
		_, from, err := l.ReadFrom(make([]byte, 200))
		must(t, err)
		_, err = l.WriteTo(make([]byte, 300), from)
		must(t, err)
		_, err = remote.Read(make([]byte, 400))
		must(t, err)
	}
	sysctl(t, host, trackAccounting, "0")
	exchange()
	if flow, ok, counted := tracked(t, host, "udp", 53); !ok || counted || flow.Received != 0 {
		t.Errorf("without counters: %+v, %v, %v", flow, ok, counted)
	}
	sysctl(t, host, trackAccounting, "1")
	exchange()
	await(t, "the one that was counted", func() bool {
		var all []Track
		must(t, host.do(func() (err error) { all, _, err = Tracked(); return err }))
		return slices.ContainsFunc(all, func(f Track) bool { return f.Protocol == "udp" && f.Received == 100 && f.Sent == 300 && !f.Translated })
	})
}

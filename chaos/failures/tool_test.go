package failures

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// toolWord is the first argument by which this binary knows that it runs inside a host. That way the tests need neither
// iproute2 nor nft on the machine.
const toolWord = "inside"

// tool runs one of the deeds below in a host.
func (w *world) tool(host string, args ...string) {
	w.Helper()
	out, err := w.tried(host, args...)
	if err != nil {
		w.Fatalf("%v in %s: %v %s", args, host, err, out)
	}
}

func (w *world) tried(host string, args ...string) (string, error) {
	return w.lab.Host(host).Output(w.limit(), w.toolWords(args...)...)
}

func (w *world) toolWords(args ...string) []string {
	w.Helper()
	self, err := os.Executable()
	w.must(err)
	return append([]string{self, toolWord}, args...)
}

func runTool(args []string) int {
	deeds := map[string]func([]string) error{
		"mount": mountSmall, "remount": remount, "fill": fill, "flush": flushTables, "unfilter": unfilter, "unqdisc": unqdisc, "firewall": firewall, "traces": traces,
		"down": linkDown, "up": linkUp, "delete": linkDelete, "add": addressAdd, "remove": addressRemove,
		"hide": hide, "powerless": powerless,
	}
	deed := deeds[args[0]]
	if deed == nil {
		fmt.Fprintf(os.Stderr, "there is no deed %q\n", args[0])
		return 2
	}
	if err := deed(args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// smallDisk is enough for an agent's state and quickly filled.
const smallDisk = "size=4m,mode=0700"

// mountSmall mounts a small file system on a directory, unless one is there.
func mountSmall(args []string) error {
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(args[0], &here), unix.Stat(args[0]+"/..", &above)); err != nil {
		return err
	}
	if here.Dev != above.Dev {
		return nil
	}
	return unix.Mount("tmpfs", args[0], "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, smallDisk)
}

// remount makes a mount read-only (ro) or not (rw), under the programs that use it. The file system itself cannot become
// read-only while files are open for writing, so this is the mount's own flag, which every new open and rename obeys.
func remount(args []string) error {
	flags := uintptr(unix.MS_REMOUNT)
	if args[1] == "ro" {
		flags |= unix.MS_RDONLY
	}
	return unix.Mount("", args[0], "", flags|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// fill writes a file until no byte fits any more.
func fill(args []string) error {
	f, err := os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 16; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			return err
		}
	}
	return nil
}

// flushTables is `nft flush ruleset`.
func flushTables([]string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.FlushRuleset()
	return c.Flush()
}

// unfilter is `tc filter del` of every BPF filter of a link.
func unfilter(args []string) error {
	l, err := link(args[0])
	if err != nil {
		return err
	}
	deleted := 0
	for _, parent := range []uint32{netlink.HANDLE_MIN_EGRESS, netlink.HANDLE_MIN_INGRESS} {
		all, err := netlink.FilterList(l, parent)
		if err != nil {
			return err
		}
		for _, f := range all {
			if f.Type() != "bpf" {
				continue
			}
			if err := netlink.FilterDel(f); err != nil {
				return err
			}
			deleted++
		}
	}
	if deleted == 0 {
		return fmt.Errorf("%s has no BPF filter", args[0])
	}
	return nil
}

// unqdisc is `tc qdisc del dev NAME clsact`.
func unqdisc(args []string) error {
	l, err := link(args[0])
	if err != nil {
		return err
	}
	return netlink.QdiscDel(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	})
}

// firewall drops (on udp 7373) or lets in again (off) what comes from or goes to a port.
func firewall(args []string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "firewall"})
	if args[0] == "off" {
		c.DelTable(t)
		return c.Flush()
	}
	port, err := strconv.ParseUint(args[2], 10, 16)
	if err != nil {
		return err
	}
	protocol := map[string]byte{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}[args[1]]
	in := c.AddChain(&nftables.Chain{
		Name: "input", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	for _, offset := range []uint32{0, 2} { // source and destination port
		c.AddRule(&nftables.Rule{Table: t, Chain: in, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, uint16(port))},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	return c.Flush()
}

// traces prints what agents leave in a network: links, tables, rules of routing, and the settings that they change.
func traces([]string) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "np") {
			fmt.Println("link", l.Attrs().Name)
		}
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := c.ListTables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		fmt.Println("table", t.Name)
	}
	for _, l := range links {
		qdiscs, err := netlink.QdiscList(l)
		if err != nil {
			return err
		}
		for _, q := range qdiscs {
			if q.Type() == "clsact" {
				fmt.Println("clsact", l.Attrs().Name)
			}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := netlink.RuleList(family)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if r.Table < unix.RT_TABLE_COMPAT {
				fmt.Println("rule", r)
			}
		}
	}
	for _, key := range []string{"arp_ignore", "arp_announce"} {
		raw, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/" + key)
		if err != nil {
			return err
		}
		fmt.Println(key, strings.TrimSpace(string(raw)))
	}
	return nil
}

// link finds a link by its name; "macvlan" stands for the service's.
func link(name string) (netlink.Link, error) {
	if name != "macvlan" {
		return netlink.LinkByName(name)
	}
	all, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.Type() == name {
			return l, nil
		}
	}
	return nil, errors.New("there is no macvlan")
}

func linkDown(args []string) error {
	l, err := link(args[0])
	if err != nil {
		return err
	}
	return netlink.LinkSetDown(l)
}

func linkUp(args []string) error {
	l, err := link(args[0])
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

func linkDelete(args []string) error {
	l, err := link(args[0])
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}

func serviceNet(bits int) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: lab.ServiceAddr().AsSlice(), Mask: net.CIDRMask(bits, 32)}}
}

func addressAdd(args []string) error {
	l, err := link(args[0])
	if err != nil {
		return err
	}
	return netlink.AddrAdd(l, serviceNet(24))
}

// addressRemove takes the service's address off a link, with whatever prefix length it has.
func addressRemove(args []string) error {
	l, err := link(args[0])
	if err != nil {
		return err
	}
	if l.Type() == "macvlan" {
		return netlink.AddrDel(l, serviceNet(32))
	}
	return netlink.AddrDel(l, serviceNet(24))
}

// hide takes eth0 away, as pulling out a USB adapter does (what stood on it is deleted by the kernel), says so, and gives it
// back with its addresses when its standard input ends.
func hide([]string) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	there, err := netlink.NewHandle() // of the host, also after this thread has left it
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	away, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer away.Close()
	if err := there.LinkSetNsFd(l, int(away.Fd())); err != nil {
		return err
	}
	fmt.Println("gone")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	back, err := netlink.LinkByName("eth0")
	if err == nil {
		err = netlink.LinkSetNsFd(back, int(home.Fd()))
	}
	if err != nil {
		return err
	}
	return configure(there, addrs)
}

func configure(host *netlink.Handle, addrs []netlink.Addr) error {
	eth, err := host.LinkByName("eth0")
	if err == nil {
		err = host.LinkSetUp(eth)
	}
	for _, a := range addrs {
		if err == nil {
			err = host.AddrAdd(eth, &netlink.Addr{IPNet: a.IPNet})
		}
	}
	return err
}

// powerless runs a program without capabilities, as a plain user's would, with one of the two that an agent
// needs, or with all that have no part in BPF. Its user is still the owner of the lab's files.
func powerless(args []string) error {
	runtime.LockOSThread()
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if kept, some := map[string]uintptr{"raw": unix.CAP_NET_RAW, "admin": unix.CAP_NET_ADMIN}[args[0]]; some && c == kept {
			continue
		}
		if args[0] == "no-bpf" && c != unix.CAP_BPF && c != unix.CAP_SYS_ADMIN {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	path, err := lookPath(args[1])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args[1:], os.Environ()) // the kernel gives root what the bounding set has, and no more
}

func lookPath(name string) (string, error) {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		if _, err := os.Stat(dir + "/" + name); err == nil {
			return dir + "/" + name, nil
		}
	}
	return "", fmt.Errorf("there is no %s in PATH", name)
}

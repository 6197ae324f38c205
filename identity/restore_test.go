package identity

import (
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestARepairIsNoRenewal: what somebody removed after a suspend, before the daemon found out, comes back, and opens nothing until a
// renewal (I3).
func TestARepairIsNoRenewal(t *testing.T) {
	forms := map[string]Form{"nftables": NFTables}
	if os.Getenv(root) != "" {
		forms["bpf"] = Exact
	}
	for kind, form := range forms {
		t.Run(kind, func(t *testing.T) {
			l := newLAN(t, "a", "c")
			a := l.host["a"]
			a.knows(l.host["c"])
			var h *Host
			a.do(func() (err error) { h, err = NewHost("eth0", form, nil, slog.New(slog.DiscardHandler)); return err })
			t.Cleanup(func() { h.Close() })
			p := l.prepare("a", h, dual)
			a.do(func() error { return p.openFor(time.Hour) })
			talkers := []*net.UDPConn{a.talker(ip0), a.talker(ip06)}
			remove := func() error {
				made, err := netlink.LinkByName(p.link)
				if err != nil {
					return err
				}
				return netlink.QdiscDel(&netlink.GenericQdisc{
					QdiscAttrs: netlink.QdiscAttrs{LinkIndex: made.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
					QdiscType:  "clsact",
				})
			}
			if form == NFTables {
				remove = func() error { return removeTable(h.nft, p.fence.(*nftFence).table) }
			}
			a.do(remove)
			a.do(p.Repair)
			l.bothSay(talkers, "removed while the clocks agreed")
			a.do(remove)
			switch f := p.fence.(type) { // as if the clocks had stood so at the last renewal
			case *exactFence:
				at := f.gate.word(wordOffset)
				at.Store(uint64(int64(at.Load()) - int64(time.Second)))
			case *nftFence:
				f.apart.Add(-int64(time.Second))
			}
			a.do(p.Repair)
			l.silent(talkers, "repaired after a suspend")
			if have, err := p.fence.Present(); !have || err != nil {
				t.Errorf("the fence was not built again: %v", err)
			}
			a.do(func() error { return p.Extend(soon(time.Hour)) })
			l.bothSay(talkers, "renewed")
		})
	}
}

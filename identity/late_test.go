package identity

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// TestRefusedRewrite: the kernel's refusal comes back as it is, and the next transaction gets its own answer.
func TestRefusedRewrite(t *testing.T) {
	l := newLAN(t, "a")
	h := l.kernel("a")
	p := l.prepare("a", h, spec)
	gone, err := newLate(h.nft, &nftables.Chain{Name: lateChain, Table: &nftables.Table{Family: nftables.TableFamilyNetdev, Name: "np-gone"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, err := range []error{gone.until(time.Now().UnixNano()), gone.never()} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a chain that is not there: %v", err)
			}
		}
		l.host["a"].do(func() error { return p.openFor(time.Hour) })
		l.host["a"].do(p.Close)
	}
	h.nft.raw.seq-- // the answer to an earlier transaction is still queued, as after an interrupted one
	if err := unix.Sendto(h.nft.raw.fd, numbered(gone.shut, h.nft.raw.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	h.nft.raw.seq++
	l.host["a"].do(func() error { return p.openFor(time.Hour) })
	h.nft.raw.buf = make([]byte, 0) // nothing can be read any more
	if err := gone.never(); err == nil {
		t.Error("a transaction without an answer counts as done")
	}
}

func numbered(message []byte, seq uint32) []byte {
	b := append([]byte(nil), message...)
	number(b, seq)
	return b
}

package identity

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// TestClosedAddressAnswersThisHostAlone: behind the closed fence, with the guard off, connections of this host to ip0 are delivered
// locally and cross no fence, in neither form of it and over both families; nobody else gets an answer, and no frame leaves. So a
// target can show that its service answers before it has the identity.
func TestClosedAddressAnswersThisHostAlone(t *testing.T) {
	for _, form := range []Form{Best, NFTables} {
		t.Run(map[Form]string{Best: "best", NFTables: "nftables"}[form], func(t *testing.T) {
			l := newLAN(t, "b", "c")
			b, c := l.host["b"], l.host["c"]
			var h *Host
			b.do(func() (err error) { h, err = NewHost("eth0", form, nil, slog.New(slog.DiscardHandler)); return err })
			t.Cleanup(func() { h.Close() })
			b.serve("[::]:8080")
			p := l.prepare("b", h, dual)
			b.do(func() error { return p.Guard(false) })
			for _, to := range []string{"10.200.0.100:8080", net.JoinHostPort(ip06.String(), "8080")} {
				conn, err := b.dial("tcp", to, 5*time.Second)
				if err != nil {
					t.Fatalf("from the host itself to %s: %v", to, err)
				}
				if got, _ := io.ReadAll(conn); string(got) != "b" {
					t.Errorf("answered by %q", got)
				}
				conn.Close()
			}
			conn, err := c.dial("tcp", "10.200.0.100:8080", 300*time.Millisecond)
			if err == nil {
				conn.Close()
				t.Error("another host was answered through a closed fence")
			}
			l.mark("b")
			if n := l.eye.count(identityFrame("b")); n != 0 {
				t.Errorf("%d frames of the identity left a host that does not hold it", n)
			}
		})
	}
}

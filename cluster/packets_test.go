package cluster

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestPackets(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	a, err := listenPackets(netip.MustParseAddrPort("127.0.0.1:0"), log)
	if err != nil {
		t.Fatal(err)
	}
	at := a.udp.LocalAddr().String()
	if a.tcp.Addr().String() != at {
		t.Errorf("TCP at %s, UDP at %s", a.tcp.Addr(), at)
	}
	if _, err := listenPackets(netip.MustParseAddrPort(at), log); err == nil {
		t.Fatal("a port that is taken was opened again")
	}
	b, err := listenPackets(netip.MustParseAddrPort("127.0.0.1:0"), log)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 1400, 65507} { // the last is all that a datagram of IPv4 can carry
		said := bytes.Repeat([]byte{byte(size)}, size)
		if _, err := b.WriteTo(said, at); err != nil {
			t.Fatal(err)
		}
		p := <-a.PacketCh()
		if !bytes.Equal(p.Buf, said) || p.From.String() != b.udp.LocalAddr().String() {
			t.Errorf("%d bytes from %s, want %d from %s", len(p.Buf), p.From, size, b.udp.LocalAddr())
		}
	}
	out, err := b.DialTimeout(at, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	in := <-a.StreamCh()
	if _, err := out.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	out.Close()
	in.Close()
	// Nobody takes what comes now, and both end all the same.
	if _, err := b.WriteTo([]byte("y"), at); err != nil {
		t.Fatal(err)
	}
	last, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	for _, p := range []*packets{a, b, a} {
		if err := p.Shutdown(); err != nil {
			t.Error(err)
		}
	}
}

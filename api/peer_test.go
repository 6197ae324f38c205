package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"
)

// certificate makes one that both sides of the test use.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"bravo"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Nodes talk over TLS with a protocol name of their own, on which net/http would hang up.
func TestPeersAreKnownByNameAndMayPropose(t *testing.T) {
	const protocol = "nightporter-api/1"
	cert := certificate(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{protocol}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &book{}
	s := NewServer(b, slog.New(slog.DiscardHandler))
	names := make(chan string, 2)
	names <- "bravo"
	names <- ""
	done := make(chan error, 1)
	go func() {
		done <- s.ServePeers(l, func(c net.Conn) string {
			if _, ok := c.(*tls.Conn); !ok {
				t.Errorf("the connection is a %T: its certificate cannot be read", c)
			}
			return <-names
		})
	}()
	dial := func(ctx context.Context) (net.Conn, error) {
		d := tls.Dialer{Config: &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{protocol}}}
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}
	known, unknown := NewClientFunc("alpha", dial), NewClientFunc("alpha", dial)
	out, err := known.Propose(t.Context(), []byte("this"))
	if err != nil || string(out) != "done this" || b.caller.Peer != "bravo" {
		t.Errorf("got %q, %v from caller %q", out, err, b.caller.Peer)
	}
	if _, err := unknown.Propose(t.Context(), []byte("that")); CodeOf(err) != CodePermission {
		t.Errorf("a peer without a name: %v", err)
	}
	if len(b.asked) != 2 {
		t.Errorf("the backend was asked %v", b.asked)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := errors.Join(s.Close(ctx), <-done); err != nil {
		t.Error(err)
	}
}

// A host that lost its power, or slept, has forgotten its connections: what it gets on one is answered with a reset.
func TestAPeerThatForgotItsConnectionsIsAskedOnANewOne(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	s := NewServer(&book{}, slog.New(slog.DiscardHandler))
	go func() { done <- s.ServePeers(l, func(net.Conn) string { return "bravo" }) }()
	dialled := 0
	c := NewClientFunc("alpha", func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		dialled++
		return d.DialContext(ctx, "tcp", l.Addr().String())
	})
	for range 3 {
		if _, err := c.Sleep(t.Context(), "delta"); err != nil {
			t.Fatal(err)
		}
	}
	if dialled != 3 {
		t.Errorf("%d connections for 3 requests", dialled)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := errors.Join(s.Close(ctx), <-done); err != nil {
		t.Error(err)
	}
}

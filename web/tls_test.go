package web

import (
	"context"
	"crypto/tls"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nightporter/internal/testcert"
)

// With a certificate there is TLS from 1.2 on and nothing else, the cookie is for TLS only, and a new certificate is for whoever comes next.
func TestTLS(t *testing.T) {
	var pair atomic.Pointer[tls.Certificate]
	renew := func() {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
		testcert.Write(t, cert, key, time.Now().Add(time.Hour))
		p, err := tls.LoadX509KeyPair(cert, key)
		must(t, err)
		pair.Store(&p)
	}
	renew()
	const token = "0123456789abcdef"
	_, at := served(t, "127.0.0.1:0", token, story(), func(v *Server) { v.options.Certificate = pair.Load })
	shake := func(most uint16) (*tls.ConnectionState, error) {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: most, NextProtos: []string{"h2", "http/1.1"}}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := d.DialContext(ctx, "tcp", at)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		s := c.(*tls.Conn).ConnectionState()
		return &s, nil
	}
	if _, err := shake(tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 is taken")
	}
	first, err := shake(tls.VersionTLS12)
	must(t, err)
	if first.Version != tls.VersionTLS12 || first.NegotiatedProtocol != "http/1.1" {
		t.Errorf("%x %s", first.Version, first.NegotiatedProtocol)
	}
	renew()
	next, err := shake(tls.VersionTLS13)
	must(t, err)
	if next.Version != tls.VersionTLS13 || next.PeerCertificates[0].Equal(first.PeerCertificates[0]) {
		t.Errorf("%x, with the former certificate: %t", next.Version, next.PeerCertificates[0].Equal(first.PeerCertificates[0]))
	}

	if a, body := ask(t, "GET", at, "/v1/status", map[string]string{"Authorization": "Bearer " + token}); a.StatusCode != http.StatusBadRequest || strings.Contains(body, "leader") {
		t.Errorf("without TLS: %d %s", a.StatusCode, body)
	}
	r, err := http.NewRequest("GET", "https://"+at+"/login", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	a, err := tr.RoundTrip(r)
	must(t, err)
	a.Body.Close()
	if c := a.Cookies(); a.StatusCode != http.StatusNoContent || len(c) != 1 || !c[0].Secure || !c[0].HttpOnly {
		t.Errorf("%d %v", a.StatusCode, c)
	}
}

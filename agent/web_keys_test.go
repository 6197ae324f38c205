package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nightporter/config"
	"nightporter/internal/testcert"
)

// page is a webLoop that serves, with its files.
type page struct {
	*testing.T
	w                *webLoop
	at               netip.AddrPort
	token, cert, key string
}

func openPage(t *testing.T, secure bool) *page {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	dir := t.TempDir()
	p := &page{T: t, at: netip.MustParseAddrPort(free.Addr().String()), token: filepath.Join(dir, "token"), cert: filepath.Join(dir, "crt"), key: filepath.Join(dir, "key")}
	p.writeToken("the-first-token-here")
	h := config.HTTP{Listen: p.at, TokenFile: p.token}
	if secure {
		p.renew(time.Now().Add(time.Hour))
		h.CertFile, h.KeyFile = p.cert, p.key
	}
	p.w = &webLoop{cfg: &config.Config{Node: "a", HTTP: h}, listen: systemWeb, source: nothing{}, log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.w.run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return p
}

func (p *page) writeToken(token string) {
	p.Helper()
	if err := os.WriteFile(p.token, []byte(token+"\n"), 0o600); err != nil {
		p.Fatal(err)
	}
}

func (p *page) renew(until time.Time) {
	testcert.Write(p, p.cert, p.key, until, net.IPv4(127, 0, 0, 1))
}

// ask gives the status of an answer, or what kept it away.
func (p *page) ask(token string) string {
	p.Helper()
	tr, scheme := &http.Transport{DisableKeepAlives: true}, "http"
	if p.w.cfg.HTTP.CertFile != "" {
		pem, err := os.ReadFile(p.cert)
		if err != nil {
			p.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		tr.TLSClientConfig, scheme = &tls.Config{RootCAs: roots}, "https"
	}
	r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s://%s/metrics", scheme, p.at), nil)
	if err != nil {
		p.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := tr.RoundTrip(r)
	if err != nil {
		return err.Error()
	}
	a.Body.Close()
	return a.Status
}

func (p *page) await(what string, look func() string) {
	p.Helper()
	tick, end := time.NewTicker(10*time.Millisecond), time.NewTimer(20*time.Second)
	defer tick.Stop()
	defer end.Stop()
	for {
		missing := look()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			p.Fatalf("%s: %s", what, missing)
		}
	}
}

// gets waits for an answer.
func (p *page) gets(token, want string) {
	p.Helper()
	p.await("with the token "+token, func() string {
		if got := p.ask(token); !strings.Contains(got, want) {
			return got
		}
		return ""
	})
}

// suffers waits for a problem; "" = for none.
func (p *page) suffers(want string) {
	p.Helper()
	p.await("the problem", func() string {
		if got := p.w.trouble(); !strings.Contains(got, want) || (want == "") != (got == "") {
			return fmt.Sprintf("%q, want %q", got, want)
		}
		return ""
	})
}

// A token that is changed counts at once for everybody, also for whoever has a stream open; without one nobody is served.
func TestAChangedTokenNeedsNoReload(t *testing.T) {
	p := openPage(t, false)
	p.gets("the-first-token-here", "200")
	open, err := net.Dial("tcp", p.at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	p.writeToken("the-second-token-here")
	p.gets("the-first-token-here", "401")
	p.gets("the-second-token-here", "200")
	if err := open.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a connection of before stays: %v", err)
	}
	p.suffers("")
	if err := os.Remove(p.token); err != nil {
		t.Fatal(err)
	}
	p.suffers("there is no token file")
	p.gets("the-second-token-here", "refused")
	p.writeToken("the-third-token-here")
	p.gets("the-third-token-here", "200")
	p.suffers("")
}

// A new certificate counts at once; while it is no good the former one does, and one that has ended is a problem.
func TestACertificateThatIsRenewed(t *testing.T) {
	p := openPage(t, true)
	p.gets("the-first-token-here", "200")
	p.renew(time.Now().Add(2 * time.Hour))
	p.gets("the-first-token-here", "200") // the client trusts only the new one
	pem, err := os.ReadFile(p.cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.key, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.suffers("the status page goes on with its former certificate: the certificate " + p.cert + " and the key " + p.key + " are no pair")
	p.gets("the-first-token-here", "200")
	if again, err := os.ReadFile(p.cert); err != nil || string(again) != string(pem) {
		t.Fatal("the test has changed the certificate", err)
	}
	p.renew(time.Now().Add(-time.Minute))
	p.suffers("the certificate of the status page, " + p.cert + ", ended at ")
	p.renew(time.Now().Add(time.Hour))
	p.suffers("")
	p.gets("the-first-token-here", "200")
}

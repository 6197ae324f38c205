package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ask makes one request and gives the answer with its body.
func ask(t *testing.T, method, at, path string, head map[string]string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+at+path, nil)
	must(t, err)
	for k, v := range head {
		if k == "Host" {
			r.Host = v
			continue
		}
		r.Header.Set(k, v)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	a, err := (&http.Client{Transport: tr}).Do(r)
	must(t, err)
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	must(t, err)
	return a, string(body)
}

func TestWithoutATokenOnlyThisHostIsKnown(t *testing.T) {
	_, at := served(t, "127.0.0.1:0", "", story())
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:80": 200, "127.0.0.1": 200, "127.8.8.8:99": 200, "[::1]:7375": 200, "[::1]": 200,
		"evil.example": 421, "evil.example:7375": 421, "192.0.2.1": 421, "localhost.evil.example": 421, "": 421, "127.0.0.1.nip.io": 421,
	} {
		for _, path := range []string{"/", "/v1/status", "/metrics"} {
			if host == "" {
				host = "."
			}
			if a, body := ask(t, "GET", at, path, map[string]string{"Host": host}); a.StatusCode != want {
				t.Errorf("Host %s, %s: %d %s", host, path, a.StatusCode, body)
			}
		}
	}
}

func TestOnlyReading(t *testing.T) {
	_, at := served(t, "127.0.0.1:0", "", story())
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"} {
		if a, _ := ask(t, method, at, "/v1/status", nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d", method, a.StatusCode)
		}
	}
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8", "/draw.js": "text/javascript; charset=utf-8", "/icon.svg": "image/svg+xml",
		"/v1/status": "application/json", "/v1/day": "application/json", "/metrics": "text/plain", "/v1/stream": "text/event-stream",
	} {
		a, body := ask(t, "HEAD", at, path, nil)
		if a.StatusCode != 200 || body != "" || a.Header.Get("Content-Type") != kind {
			t.Errorf("HEAD %s: %d, %q, %s", path, a.StatusCode, body, a.Header.Get("Content-Type"))
		}
		for head, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := a.Header.Get(head); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s is %q", path, head, got)
			}
		}
		if a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s lets other pages read", path)
		}
	}
	for _, path := range []string{"/v1", "/nothing", "/page/", "/../server.go", "/v1/status/"} {
		if a, _ := ask(t, "GET", at, path, nil); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

func TestWhoHasTheTokenMayRead(t *testing.T) {
	const token = "0123456789abcdef"
	_, at := served(t, "127.0.0.1:0", token, story())
	closed := []string{"/v1/status", "/v1/day", "/metrics", "/v1/stream", "/login", "/nothing"}
	for _, head := range []map[string]string{
		nil,
		{"Authorization": "Bearer 0123456789abcdeg"},
		{"Authorization": "Bearer "},
		{"Authorization": token},
		{"Authorization": "Basic " + token},
		{"Cookie": "nightporter-h1=" + token},
		{"Cookie": "nightporter-h1="},
		{"Authorization": "Bearer"},
	} {
		for _, path := range closed[:2] {
			a, body := ask(t, "GET", at, path+"?token="+token, head)
			if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" || a.Header.Get("Set-Cookie") != "" || strings.Contains(body, token) {
				t.Errorf("%v %s: %d %s", head, path, a.StatusCode, body)
			}
		}
	}
	for _, path := range closed {
		if a, _ := ask(t, "HEAD", at, path, nil); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", path, a.StatusCode)
		}
	}
	bearer := map[string]string{"Authorization": "bearer " + token, "Host": "status.example"}
	if a, body := ask(t, "GET", at, "/metrics", bearer); a.StatusCode != 200 || body != "up 1\n" {
		t.Errorf("with the token: %d %s", a.StatusCode, body)
	}
	a, _ := ask(t, "GET", at, "/login", bearer)
	cookies := a.Cookies()
	if a.StatusCode != http.StatusNoContent || len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || strings.Contains(cookies[0].Value, token) {
		t.Fatalf("login gives %d %v", a.StatusCode, cookies)
	}
	if a, _ := ask(t, "GET", at, "/v1/status", map[string]string{"Cookie": cookies[0].Name + "=" + cookies[0].Value}); a.StatusCode != 200 {
		t.Errorf("with the cookie: %d", a.StatusCode)
	}
	_, next := served(t, "127.0.0.1:0", "another-token-there", story())
	if a, _ := ask(t, "GET", next, "/v1/status", map[string]string{"Cookie": cookies[0].Name + "=" + cookies[0].Value}); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("the cookie outlives its token: %d", a.StatusCode)
	}
}

// What one caller holds open is bounded, and so is what all of them hold; the agent is not bothered further.
func TestConnectionsAreBounded(t *testing.T) {
	_, at := served(t, "127.0.0.1:0", "", story())
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	answered := func() bool {
		c, err := net.Dial("tcp", at)
		must(t, err)
		open = append(open, c)
		must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = fmt.Fprintf(c, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if err != nil {
			return false
		}
		a, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			a.Body.Close()
		}
		return err == nil
	}
	for i := range connsOfOne {
		if !answered() {
			t.Fatalf("connection %d was refused", i)
		}
	}
	if answered() {
		t.Errorf("one address holds more than %d connections", connsOfOne)
	}
	open[0].Close()
	end := time.Now().Add(10 * time.Second)
	for !answered() {
		if time.Now().After(end) {
			t.Fatal("a connection that was closed still counts")
		}
	}
	b := &bounded{}
	n := 0
	for i := range 2 * connsMost {
		if b.enter(source(&net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i))})) {
			n++
		}
	}
	if n != connsMost {
		t.Errorf("%d connections of all", n)
	}
	one, two := source(&net.TCPAddr{IP: net.ParseIP("2001:db8::1")}), source(&net.TCPAddr{IP: net.ParseIP("2001:db8::2:0:0:1")})
	if one != two {
		t.Errorf("%v and %v are of one network", one, two)
	}
}

// The stream goes on for longer than a request may take to arrive, tells changes soon, and is bounded in number.
func TestTheStream(t *testing.T) {
	s := story()
	const request = 200 * time.Millisecond
	v, at := served(t, "127.0.0.1:0", "", s, func(v *Server) { v.http.ReadTimeout, v.beat = request, 2*request })
	c, err := net.Dial("tcp", at)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(c, "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
	must(t, err)
	r := bufio.NewReader(c)
	await := func(word string) time.Duration {
		t.Helper()
		began := time.Now()
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("no %s: %v", word, err)
			}
			if strings.HasPrefix(line, "data: ") && strings.Contains(line, word) {
				return time.Since(began)
			}
		}
	}
	await(`"leader":"bravo"`)
	if took := await(`"leader":"bravo"`); took < request { // a beat
		t.Errorf("a beat after %v", took)
	}
	s.tell(func() { s.status["leader"] = "delta" })
	if took := await(`"leader":"delta"`); took > 2*time.Second {
		t.Errorf("a change is told after %v", took)
	}
	v.streams.Store(streamsMost)
	if a, _ := ask(t, "HEAD", at, "/v1/stream", nil); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one stream too many: %d", a.StatusCode)
	}
	v.streams.Store(1)
}

// Whoever asks faster than anybody needs is refused and cut off, and a moment later served again.
func TestRequestsAreBounded(t *testing.T) {
	_, at := served(t, "127.0.0.1:0", "", story(), func(v *Server) { v.pace.perSecond = 1 })
	c, err := net.Dial("tcp", at)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	r := bufio.NewReader(c)
	for n := 0; ; n++ {
		_, err := fmt.Fprintf(c, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		must(t, err)
		a, err := http.ReadResponse(r, &http.Request{Method: http.MethodHead})
		must(t, err)
		a.Body.Close()
		if a.StatusCode == http.StatusOK {
			continue
		}
		if n < 2 || a.StatusCode != http.StatusServiceUnavailable || !a.Close || a.Header.Get("Retry-After") == "" {
			t.Errorf("after %d answers: %d %v", n, a.StatusCode, a.Header)
		}
		break
	}
	for end := time.Now().Add(10 * time.Second); ; {
		if a, _ := ask(t, "GET", at, "/v1/status", nil); a.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody is served any more")
		}
	}
}

func TestRate(t *testing.T) {
	r, now := rate{perSecond: 10}, time.Unix(1e9, 0)
	for i := range 20 {
		if wait := r.take(now); wait != 0 {
			t.Fatalf("the %dth of a burst waits for %v", i, wait)
		}
	}
	if wait := r.take(now); wait != 100*time.Millisecond {
		t.Errorf("beyond the burst: %v", wait)
	}
	if wait := r.take(now.Add(-time.Hour)); wait == 0 {
		t.Error("a clock that is set back gives more")
	}
	if wait := r.take(now.Add(150 * time.Millisecond)); wait != 0 {
		t.Errorf("a moment later: %v", wait)
	}
	if wait := r.take(now.Add(150 * time.Millisecond)); wait != 50*time.Millisecond {
		t.Errorf("and one more: %v", wait)
	}
}

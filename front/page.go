package front

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"nightporter/internal/markup"
)

// Waiting is how far a service is.
type Waiting struct {
	Service string
	Hosts   []Host
	Since   time.Duration // how long somebody has been waiting for it
	Usual   time.Duration // how long a wake usually takes; 0 = nobody knows yet
	Problem string        // a sentence about what is wrong; "" = nothing
}

// Host is a target and what it does.
type Host struct{ Name, State string }

// Progress is what of the usual time is over, in percent, and never quite all of it.
func (w Waiting) Progress() int {
	if w.Usual <= 0 {
		return 0
	}
	return min(int(100*w.Since/w.Usual), 95)
}

// Seconds rounds a time for people.
func (w Waiting) Seconds(d time.Duration) int { return int(math.Round(d.Seconds())) }

// RetryAfter is when it is worth while to ask again, in whole seconds (RFC 9110, section 10.2.3).
func (w Waiting) RetryAfter() int {
	left := w.Usual - w.Since
	return max(int(math.Ceil(left.Seconds())), refresh)
}

// refresh is how often a browser asks again, in seconds.
const refresh = 2

//go:embed page.html
var pageText string

// html is what people get.
func (w Waiting) html() string {
	parts := map[string]markup.Text{
		"service": markup.Fill("%v", w.Service), "refresh": markup.Fill("%v", refresh), "problem": "",
		"progress": markup.Fill("<progress></progress>\n<p>Waiting for %v s.</p>\n", w.Seconds(w.Since)),
		"hosts":    markup.Each(w.Hosts, func(h Host) markup.Text { return markup.Fill("<tr><td>%v</td><td>%v</td></tr>", h.Name, h.State) }),
	}
	if w.Usual > 0 {
		parts["progress"] = markup.Fill("<progress max=\"100\" value=\"%v\"></progress>\n<p>Waiting for %v s; it usually takes %v s.</p>\n",
			w.Progress(), w.Seconds(w.Since), w.Seconds(w.Usual))
	}
	if w.Problem != "" {
		parts["problem"] = markup.Fill("<p class=\"problem\">%v</p>\n", w.Problem)
	}
	return markup.Page(pageText, parts)
}

// Bounds of a request for a page: whoever is slower or says more is no browser.
const (
	headerTime = 5 * time.Second
	answerTime = 5 * time.Second
	headerMost = 16 << 10
)

// pageServer speaks HTTP/1.1 on the connections that it is given, one request on each.
type pageServer struct {
	desk   Desk
	server *http.Server
	given  chan net.Conn
	ended  chan struct{}
	once   sync.Once
}

func newPageServer(desk Desk, log *slog.Logger) *pageServer {
	p := &pageServer{desk: desk, given: make(chan net.Conn), ended: make(chan struct{})}
	p.server = &http.Server{
		Handler: p, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: answerTime, MaxHeaderBytes: headerMost,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	p.server.SetKeepAlivesEnabled(false)
	return p
}

func (p *pageServer) run() { _ = p.server.Serve(p) } // it ends with close alone, and says only that

// Accept implements net.Listener: the connections come from the Door.
func (p *pageServer) Accept() (net.Conn, error) {
	select {
	case c := <-p.given:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pageServer) Close() error {
	p.once.Do(func() { close(p.ended) })
	return nil
}

// Addr implements net.Listener.
func (p *pageServer) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pageServer) close() error { return errors.Join(p.Close(), p.server.Close()) }

// tracked tells when the HTTP server has closed a connection.
type tracked struct {
	net.Conn
	closed context.CancelFunc
}

func (t tracked) Close() error {
	defer t.closed()
	return t.Conn.Close()
}

// serve returns when the connection has had its answer.
func (p *pageServer) serve(ctx context.Context, conn net.Conn) {
	answered, closed := context.WithCancel(ctx)
	defer closed()
	select {
	case p.given <- tracked{conn, closed}:
		<-answered.Done()
	case <-p.ended:
	}
}

// ServeHTTP implements http.Handler. Whatever was asked for, the answer is that it is not there yet: 503, with the time after
// which to ask again. People get a page that asks by itself.
func (p *pageServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		http.Error(w, "no address", http.StatusInternalServerError)
		return
	}
	at := local.AddrPort()
	state := p.desk.Waiting(p.desk.Route(unmapped(at)).Service)
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("Retry-After", strconv.Itoa(state.RetryAfter()))
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Robots-Tag", "noindex")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		head.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		if r.Method != http.MethodHead {
			_, _ = w.Write([]byte(plainText(state))) // whoever went away does not want it
		}
		return
	}
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.WriteHeader(http.StatusServiceUnavailable)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(state.html()))
	}
}

func plainText(w Waiting) string {
	var b strings.Builder
	b.WriteString(w.Service + " is being woken up; ask again in " + strconv.Itoa(w.RetryAfter()) + " s\n")
	if w.Problem != "" {
		b.WriteString(w.Problem + "\n")
	}
	return b.String()
}

package web

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Source is what is shown. An answer may be old by a quarter of a second.
type Source interface {
	Status(ctx context.Context) ([]byte, error)  // JSON without line breaks
	Day(ctx context.Context) ([]byte, error)     // JSON
	Metrics(ctx context.Context) ([]byte, error) // MetricsType
	// Watch gives a channel that holds a token after a change.
	Watch() (changed <-chan struct{}, cancel func())
}

// Options say whom a Server answers.
type Options struct {
	Node        string
	Token       string // "" = whoever comes from this host; the listener must be at an address that only it can reach
	MetricsType string // of the metrics' text
	// Certificate gives the one in force; nil = no TLS.
	Certificate func() *tls.Certificate
}

// Server serves until Close.
type Server struct {
	options Options
	source  Source
	guard   guard
	http    *http.Server
	log     *slog.Logger
	life    context.Context
	end     context.CancelFunc
	streams atomic.Int32
	beat    time.Duration

	status, day, metrics fresh
	pace                 rate // of requests

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // requests that are answered
}

// New makes a Server; Serve gives it something to listen to.
func New(o Options, s Source, log *slog.Logger) *Server {
	life, end := context.WithCancel(context.Background())
	v := &Server{options: o, source: s, guard: newGuard(o.Node, o.Token), log: log, life: life, end: end, beat: beatEvery, pace: rate{perSecond: requestsRate}}
	v.status.ask, v.day.ask, v.metrics.ask = s.Status, s.Day, s.Metrics
	v.status.life, v.day.life, v.metrics.life = life, life, life
	v.http = &http.Server{
		Handler: v, ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerMost,
		BaseContext: func(net.Listener) context.Context { return life },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return v
}

// Serve answers until Close; it owns the listener.
func (s *Server) Serve(l net.Listener) error {
	l = &bounded{Listener: l, life: s.life, pace: rate{perSecond: connsRate}}
	if s.options.Certificate != nil {
		l = tls.NewListener(l, &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, // HTTP/2 would have bounds of its own
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.options.Certificate(), nil },
		})
	}
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the status page at %s: %w", l.Addr(), err)
	}
	return nil
}

// Close cuts everything off, and returns when the Source is asked for nothing any more. A page that is open comes back by itself.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	err := s.http.Close()
	s.running.Wait()
	return err
}

// enter counts a request, unless the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

//go:embed page/index.html
var pageHTML []byte

//go:embed page/page.css
var pageCSS []byte

//go:embed page/page.js
var pageJS []byte

//go:embed page/draw.js
var drawJS []byte

//go:embed page/icon.svg
var pageIcon []byte

// public are the files of the page: there is nothing of the cluster in them, so everybody gets them.
var public = map[string]struct {
	kind string
	body []byte
}{
	"/":         {"text/html; charset=utf-8", pageHTML},
	"/page.css": {"text/css; charset=utf-8", pageCSS},
	"/page.js":  {"text/javascript; charset=utf-8", pageJS},
	"/draw.js":  {"text/javascript; charset=utf-8", drawJS},
	"/icon.svg": {"image/svg+xml", pageIcon},
}

// policy lets the page load what this server has, and nothing from anywhere else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		return
	}
	defer s.running.Done()
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	switch {
	case s.pace.take(time.Now()) > 0:
		h.Set("Connection", "close")
		h.Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "too many ask at one time")
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "this is to be read only: GET or HEAD")
		return
	case r.ContentLength != 0:
		h.Set("Connection", "close")
		refuse(w, http.StatusBadRequest, "a request here has no body")
		return
	case s.guard.token == nil && !named(r):
		refuse(w, http.StatusMisdirectedRequest, "this is reached as localhost or 127.0.0.1 only; a token_file lets it be reached by other names")
		return
	}
	if f, ok := public[r.URL.Path]; ok {
		h.Set("Content-Type", f.kind)
		s.write(w, f.body)
		return
	}
	s.guarded(w, r)
}

// guarded is what not everybody gets.
func (s *Server) guarded(w http.ResponseWriter, r *http.Request) {
	if !s.guard.admits(r) {
		pause(r.Context(), loginPause)
		w.Header().Set("WWW-Authenticate", `Bearer realm="nightporter"`)
		refuse(w, http.StatusUnauthorized, "a token is needed here: Authorization: Bearer TOKEN, the one of http.token_file on this host")
		return
	}
	switch r.URL.Path {
	case "/login":
		if s.guard.token != nil {
			s.guard.admit(w, r.TLS != nil)
		}
		w.WriteHeader(http.StatusNoContent)
	case "/v1/status":
		s.answer(w, r, &s.status, "application/json")
	case "/v1/day":
		s.answer(w, r, &s.day, "application/json")
	case "/metrics":
		s.answer(w, r, &s.metrics, s.options.MetricsType)
	case "/v1/stream":
		s.stream(w, r)
	default:
		refuse(w, http.StatusNotFound, "there is nothing here; try / or /metrics")
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, f *fresh, kind string) {
	body, err := f.get()
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	w.Header().Set("Content-Type", kind)
	s.write(w, body)
}

func (s *Server) write(w http.ResponseWriter, body []byte) {
	if _, err := w.Write(body); err != nil {
		s.log.Debug("a browser went away", "err", err)
	}
}

func refuse(w http.ResponseWriter, status int, sentence string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(sentence + "\n")) // whoever went away does not want it
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// fresh asks the Source at most four times a second, however many want to know.
type fresh struct {
	ask  func(context.Context) ([]byte, error)
	life context.Context // of the server: others wait for the same answer

	mu   sync.Mutex
	at   time.Time
	body []byte
	err  error
}

func (f *fresh) get() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.at.IsZero() && time.Since(f.at) < freshFor {
		return f.body, f.err
	}
	f.at = time.Now() // an answer is as old as its question
	ctx, cancel := context.WithTimeout(f.life, askTime)
	defer cancel()
	f.body, f.err = f.ask(ctx)
	return f.body, f.err
}

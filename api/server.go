package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of one request. What a caller waits for is bounded by the caller; these bound what a broken one can hold.
const (
	bodyLimit     = 1 << 20
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	idleTimeout   = 2 * time.Minute
)

// Server answers for one Backend, on any number of listeners.
type Server struct {
	backend Backend
	log     *slog.Logger
	life    context.Context // of the requests
	end     context.CancelFunc
	open    context.Context // ends first: no question waits for news any more (held)
	shut    context.CancelFunc

	mu      sync.Mutex
	servers []*http.Server
	closed  bool
}

// NewServer makes a server; Serve and ServePeers give it something to listen to.
func NewServer(b Backend, log *slog.Logger) *Server {
	life, end := context.WithCancel(context.Background())
	open, shut := context.WithCancel(life)
	return &Server{backend: b, log: log, life: life, end: end, open: open, shut: shut}
}

// Serve answers local callers until Close; it owns the listener. Who may call is decided by the socket's file mode.
func (s *Server) Serve(l net.Listener) error {
	return s.serve(l, func(net.Conn) Caller { return Caller{} })
}

// ServePeers answers the other nodes until Close; it owns the listener. name gives the node that a connection's
// certificate was made for; a connection without one is refused.
func (s *Server) ServePeers(l net.Listener, name func(net.Conn) string) error {
	return s.serve(plainListener{l}, func(c net.Conn) Caller {
		p, ok := c.(plainConn)
		if !ok {
			return Caller{Peer: nobody}
		}
		if n := name(p.Conn); n != "" {
			return Caller{Peer: n}
		}
		return Caller{Peer: nobody}
	})
}

// nobody stands for a peer whose name is not known. It is no valid name of a node.
const nobody = "?"

func (s *Server) serve(l net.Listener, who func(net.Conn) Caller) error {
	hs := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		BaseContext:       func(net.Listener) context.Context { return s.life },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return withCaller(ctx, who(c))
		},
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		l.Close()
		return nil
	}
	s.servers = append(s.servers, hs)
	s.mu.Unlock()
	if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the admin interface at %s: %w", l.Addr(), err)
	}
	return nil
}

// lastWords is how long a request that is cut off has to say so to its caller.
const lastWords = 250 * time.Millisecond

// Close stops listening, lets the requests that are under way finish until ctx ends, then cuts them off: what still waits
// is told that it may be carried out all the same.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	servers := s.servers
	s.mu.Unlock()
	defer s.end()
	s.shut()
	var errs []error
	for _, hs := range servers {
		if hs.Shutdown(ctx) == nil {
			continue
		}
		s.end()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		if hs.Shutdown(last) != nil {
			errs = append(errs, hs.Close())
		}
		cancel()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the admin interface: %w", err)
	}
	return nil
}

// plainListener hides that a connection is TLS: net/http hangs up on a TLS connection whose protocol (ALPN) it does not
// know, and ours has a name of its own.
type plainListener struct{ net.Listener }

type plainConn struct{ net.Conn }

// Accept implements net.Listener.
func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return plainConn{c}, nil
}

// call is one operation: it decodes its input, asks the Backend, and gives back what is to be encoded.
type call func(ctx context.Context, in func(any) error) (any, error)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for path, c := range s.calls() {
		mux.Handle("POST "+prefix+path, s.serving(path, c))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &Error{CodeVersion, "this daemon has no operation " + r.URL.Path, "daemon and command are of different versions: compare `nightporter version`, and restart the daemon after an upgrade"})
	})
	return mux
}

func (s *Server) serving(path string, c call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller := CallerOf(r.Context())
		if caller.Peer == nobody {
			writeError(w, &Error{CodePermission, "this connection belongs to no node", ""})
			return
		}
		// The body must come at once; the answer may take as long as the caller has patience.
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
			s.log.Debug("no time limit for the request's body", "err", err)
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil {
			writeError(w, Invalid("the request cannot be read: "+err.Error(), ""))
			return
		}
		if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
			s.log.Debug("no time limit for the connection", "err", err)
		}
		out, err := c(r.Context(), func(v any) error {
			if err := json.Unmarshal(body, v); err != nil {
				return Invalid("the request makes no sense: "+err.Error(), "")
			}
			return nil
		})
		if err != nil {
			e := asError(path, err)
			if e.Code == CodeInternal {
				s.log.Error("request failed", "operation", path, "peer", caller.Peer, "err", err)
			}
			writeError(w, e)
			return
		}
		writeJSON(w, http.StatusOK, out)
	}
}

// asError gives every error a code.
func asError(path string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		if questions[path] {
			return &Error{CodeTimeout, "the daemon could not answer `" + path + "` in time", "the daemon's log says more"}
		}
		return Timeout(path)
	}
	return &Error{CodeInternal, "the daemon could not " + path + ": " + err.Error(), "the daemon's log says more"}
}

func writeError(w http.ResponseWriter, e *Error) { writeJSON(w, e.Code.httpStatus(), e) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	body, err := marshal(v)
	if err != nil {
		status = http.StatusInternalServerError
		body = []byte(`{"code":"internal","message":"the daemon could not write its answer","hint":""}`)
	}
	w.WriteHeader(status)
	// The caller may have gone meanwhile: then nobody is left to be told.
	_, _ = w.Write(append(body, '\n'))
}

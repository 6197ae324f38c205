package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// DefaultHTTPPort is where the status page and the metrics are, on loopback unless the file says otherwise.
const DefaultHTTPPort = 7375

// HTTP says where the status page and the metrics are served.
type HTTP struct {
	Listen    netip.AddrPort // the zero value = nowhere
	LAN       bool           // at this host's own address; of Listen only the port counts then
	TokenFile string         // whoever asks must have what is in it; "" = everybody may, on this host only
	CertFile  string         // of TLS, with KeyFile; "" = the connection is not encrypted
	KeyFile   string
}

// Off says whether nothing is served.
func (h HTTP) Off() bool { return h.Listen.Port() == 0 }

// Local says whether only this host itself can ask.
func (h HTTP) Local() bool { return !h.LAN && h.Listen.Addr().IsLoopback() }

// defaultHTTP is in force where the file says nothing.
func defaultHTTP() HTTP {
	return HTTP{Listen: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), DefaultHTTPPort)}
}

// HTTPAddr is where the page and the metrics are served on this host; not valid = nowhere.
func (c *Config) HTTPAddr() netip.AddrPort {
	switch {
	case c.HTTP.Off():
		return netip.AddrPort{}
	case c.HTTP.LAN:
		return netip.AddrPortFrom(c.Address, c.HTTP.Listen.Port())
	}
	return c.HTTP.Listen
}

// httpSection is HTTP with places.
type httpSection struct {
	listen    value[HTTP]
	token     value[string]
	cert, key value[string]
}

// plain is the section without places.
func (s httpSection) plain() HTTP {
	h := s.listen.or(defaultHTTP())
	h.TokenFile, h.CertFile, h.KeyFile = s.token.v, s.cert.v, s.key.v
	return h
}

// http reads the section, or off.
func (r *reader) http(n ast.Node) value[httpSection] {
	out := value[httpSection]{at: placeOf(n), set: true}
	if scalar(r.plain(n)) == "off" {
		out.v.listen = value[HTTP]{HTTP{}, out.at, true}
		return out
	}
	before := len(r.problems)
	file := func(v *value[string]) func(place, ast.Node) {
		return func(_ place, n ast.Node) {
			if scalar(r.plain(n)) != "none" {
				*v = r.path(n)
			}
		}
	}
	r.mapping(n, "http", fields{
		"listen":     func(_ place, n ast.Node) { out.v.listen = r.httpListen(n) },
		"token_file": file(&out.v.token), "tls_cert_file": file(&out.v.cert), "tls_key_file": file(&out.v.key),
	})
	if len(r.problems) == before && out.v.cert.set != out.v.key.set {
		r.problem(first(out.v.cert, out.v.key).at, "http has one of tls_cert_file and tls_key_file; TLS needs both, and neither means that the connection is not encrypted")
	}
	if h := out.v.plain(); len(r.problems) == before && !h.Off() && !h.Local() && h.TokenFile == "" {
		at := out.at
		if out.v.listen.set {
			at = out.v.listen.at
		}
		r.problem(at, "http would listen beyond this host and let everybody read; add token_file: /etc/nightporter/http-token, a file of mode 0600 with a token in it, or listen on 127.0.0.1:%d", h.Listen.Port())
	}
	return out
}

// httpListen reads an address with a port, lan, lan:PORT, or off.
func (r *reader) httpListen(n ast.Node) value[HTTP] {
	const want = "an address and a port like 127.0.0.1:7375, lan:7375, or off"
	v := r.text(n, want)
	if !v.set {
		return value[HTTP]{}
	}
	if v.v == "off" {
		return value[HTTP]{HTTP{}, v.at, true}
	}
	if word, port, _ := strings.Cut(v.v, ":"); word == "lan" {
		p, err := strconv.ParseUint(port, 10, 16)
		if port == "" {
			p, err = DefaultHTTPPort, nil
		}
		if err == nil && p != 0 {
			return value[HTTP]{HTTP{Listen: netip.AddrPortFrom(netip.Addr{}, uint16(p)), LAN: true}, v.at, true}
		}
	}
	a, err := netip.ParseAddrPort(v.v)
	switch {
	case err != nil || a.Port() == 0:
		r.problem(v.at, "%q is nowhere to listen; write %s", v.v, want)
	case a.Addr().Is4In6() || a.Addr().Zone() != "" || a.Addr().IsMulticast():
		r.problem(v.at, "%s is no address to listen at; write %s", a.Addr(), want)
	default:
		return value[HTTP]{HTTP{Listen: a}, v.at, true}
	}
	return value[HTTP]{}
}

// judgeHTTP finds ports that are used twice. On loopback nothing else of ours listens.
func (r *reader) judgeHTTP(h host, f file) {
	s := h.http.v
	p := s.plain()
	if !h.http.set || p.Off() || p.Local() {
		return
	}
	for key, port := range map[string]int{"gossip_port": f.gossipPort.or(DefaultGossipPort), "peer_port": f.peerPort.or(DefaultPeerPort)} {
		if int(p.Listen.Port()) == port {
			r.problem(s.listen.at, "http listens at port %d, which is %s; choose another one", port, key)
		}
	}
}

// httpNotes are sentences about the files of the page. They keep no agent from its work: while one cannot be used, page and metrics are shut.
func httpNotes(c *Config) []string {
	var notes []string
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			notes = append(notes, "status page and metrics stay shut: "+sentence(err))
		}
	}
	switch {
	case c.HTTP.Off():
		return nil
	case c.HTTP.TokenFile == "":
	case c.HTTP.TokenFile == c.SecretFile:
		note(errors.New("the token file " + c.HTTP.TokenFile + " is the cluster's secret, which opens far more than a page; make a file of its own"))
	default:
		_, err := ReadToken(c.HTTP.TokenFile)
		note(err)
	}
	if c.HTTP.CertFile != "" {
		_, err := ReadKeyPair(c.HTTP.CertFile, c.HTTP.KeyFile)
		note(err)
	}
	return notes
}

// Bounds of a token, in bytes.
const (
	tokenLeast = 16
	tokenMost  = 256
)

// ReadToken reads a token file: one line of 16 to 256 visible ASCII characters, and comments. A file that others than its owner can read is refused.
func ReadToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", tokenError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", tokenError(path, err)
	}
	switch perm := info.Mode().Perm(); {
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("the token file %s is not a regular file", path)
	case perm&0o077 != 0:
		return "", fmt.Errorf("the token file %s can be read by others (mode %04o); run `chmod 600 %s`, and make a new token if strangers had access to it", path, perm, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, secretFileLimit+1))
	if err != nil {
		return "", tokenError(path, err)
	}
	return parseToken(path, data)
}

func tokenError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no token file %s; make it with `(umask 077; head -c 24 /dev/urandom | base64 > %s)`: %w", path, path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the token file %s cannot be read by this user: %w", path, err)
	}
	return fmt.Errorf("read the token file %s: %w", path, err)
}

func parseToken(path string, data []byte) (string, error) {
	token := ""
	for line := range bytes.Lines(data) {
		s := strings.TrimSpace(string(line))
		if s == "" || strings.HasPrefix(s, "#") {
			continue
		}
		if token != "" {
			return "", fmt.Errorf("the token file %s has more than one line that is no comment; leave one", path)
		}
		token = s
	}
	odd := strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' })
	if len(token) < tokenLeast || len(token) > tokenMost || odd || len(data) > secretFileLimit {
		return "", fmt.Errorf("the token file %s needs one line of %d to %d visible characters without spaces", path, tokenLeast, tokenMost)
	}
	return token, nil
}

package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard says who may read.
type guard struct {
	token  []byte // a digest of it; nil = none is needed
	pass   string // what the cookie holds
	cookie string // its name
}

func newGuard(node, token string) guard {
	g := guard{cookie: "nightporter-" + node} // cookies know no ports: behind one forwarded address there may be several nodes
	if token == "" {
		return g
	}
	digest := sha256.Sum256([]byte(token))
	g.token = digest[:]
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("nightporter status page, 1"))
	g.pass = hex.EncodeToString(mac.Sum(nil))
	return g
}

// named says whether a request without a token names this host as its own user would. Which port it names does not matter: it may
// have been forwarded.
func named(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// bears says whether a request has the token in its head.
func (g guard) bears(r *http.Request) bool {
	word, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(word, "Bearer") && subtle.ConstantTimeCompare(digest[:], g.token) == 1
}

// admits says whether a request may read.
func (g guard) admits(r *http.Request) bool {
	if g.token == nil {
		return true // named was asked before
	}
	if g.bears(r) {
		return true
	}
	for _, c := range r.CookiesNamed(g.cookie) {
		if subtle.ConstantTimeCompare([]byte(c.Value), []byte(g.pass)) == 1 {
			return true
		}
	}
	return false
}

// admit gives the cookie; one that came over TLS goes over nothing else.
func (g guard) admit(w http.ResponseWriter, secure bool) {
	http.SetCookie(w, &http.Cookie{
		Name: g.cookie, Value: g.pass, Path: "/", MaxAge: cookieSeconds, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: secure,
	})
}

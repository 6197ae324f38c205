package scenarios

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"nightporter/config"
)

// intruder has a secret of the cluster, and makes of it what an agent makes.
type intruder struct {
	gossip []byte
	ca     ed25519.PrivateKey
	root   *x509.Certificate
}

// keysIn makes the keys of the first secret in a file.
func (w *world) keysIn(path string) intruder {
	w.Helper()
	have, err := config.ReadSecrets(path)
	w.must(err)
	derive := func(label string, n int) []byte {
		key, err := hkdf.Key(sha256.New, have[0], []byte("lab"), label, n)
		w.must(err)
		return key
	}
	i := intruder{gossip: derive("nightporter gossip v1", 32), ca: ed25519.NewKeyFromSeed(derive("nightporter ca v1", ed25519.SeedSize))}
	i.root = w.certify(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nightporter cluster lab"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, nil, i.ca.Public(), i.ca)
	return i
}

// certify signs a certificate; nil as parent signs it by itself.
func (w *world) certify(c, parent *x509.Certificate, public any, by ed25519.PrivateKey) *x509.Certificate {
	w.Helper()
	if parent == nil {
		parent = c
	}
	c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, by)
	w.must(err)
	out, err := x509.ParseCertificate(der)
	w.must(err)
	return out
}

// letsIn has a client of the LAN, with the keys of a secret and a copy of h2's own key, knock at each door of h1: gossip, Raft and the
// agents' own. Each answers, or none.
func (w *world) letsIn(with intruder, want bool) {
	w.Helper()
	if got := w.gossips(with); got != want {
		w.Errorf("gossip answers: %t, want %t", got, want)
	}
	for _, proto := range []string{"nightporter-raft/1", "nightporter-api/1"} {
		if err := w.shakesHands(with, proto); (err == nil) != want {
			w.Errorf("%s lets it in: %v, want %t", proto, err, want)
		}
	}
}

// gossips asks by memberlist's ping, whose answer goes to whoever sent it.
func (w *world) gossips(with intruder) bool {
	w.Helper()
	block, err := aes.NewCipher(with.gossip)
	w.must(err)
	box, err := cipher.NewGCM(block)
	w.must(err)
	nonce := make([]byte, box.NonceSize())
	rand.Read(nonce)
	ping := append([]byte{0, 0x82, 0xa5}, "SeqNo\x01\xa4Node\xa0"...) // to whoever is there
	to := netip.AddrPortFrom(w.lab.Host("h1").Addr(), config.DefaultGossipPort)
	conn, err := w.lab.Client(1).Dial(w.limit(), "udp", to)
	w.must(err)
	defer conn.Close()
	for range 5 { // one may be lost
		_, err = conn.Write(box.Seal(append([]byte{1}, nonce...), nonce, ping, nil))
		w.must(err)
		w.must(conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)))
		if _, err := conn.Read(make([]byte, 1500)); err == nil {
			return true
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			w.Fatal(err)
		}
	}
	return false
}

// shakesHands calls itself h2, with h2's own key, and reads until the other side has said what it thinks of that: with TLS 1.3 that comes
// after the handshake.
func (w *world) shakesHands(with intruder, proto string) error {
	w.Helper()
	text, err := os.ReadFile(filepath.Join(w.lab.Host("h2").Dir(), "data", "node.key"))
	w.must(err)
	block, _ := pem.Decode(text)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	w.must(err)
	key := parsed.(ed25519.PrivateKey)
	leaf := w.certify(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "h2"}, DNSNames: []string{"h2"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, with.root, key.Public(), with.ca)
	raw, err := w.lab.Client(1).Dial(w.limit(), "tcp", netip.AddrPortFrom(w.lab.Host("h1").Addr(), config.DefaultPeerPort))
	w.must(err)
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{proto}, // who intrudes does not ask whom he meets
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
	})
	w.must(conn.SetDeadline(time.Now().Add(time.Second)))
	if err := conn.Handshake(); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("GET /v1/version HTTP/1.1\r\nHost: h1\r\n\r\n")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded): // it answers, or waits for more
		return nil
	case errors.Is(err, io.EOF): // it was let in, and makes no sense
		return nil
	}
	return err
}

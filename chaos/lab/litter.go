package lab

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"
	"time"
)

// litterKind is one kind of garbage.
type litterKind struct {
	kind    string
	network string
	port    uint16
	make    func(*rand.Rand) []byte
}

const wrongCertificate = "TLS with a wrong certificate"

// litterKinds are all kinds. memberlist writes its framing down in net.go and security.go.
var litterKinds = [...]litterKind{
	{"random bytes", "udp", gossipPort, randomBytes},
	{"random bytes", "udp", peerPort, randomBytes},
	{"random bytes", "tcp", gossipPort, randomBytes},
	{"random bytes", "tcp", peerPort, randomBytes},
	{"gossip under another key", "udp", gossipPort, func(r *rand.Rand) []byte { return encrypted(r, gossipMessage(r), nil) }},
	{"gossip in the clear", "udp", gossipPort, gossipMessage},
	{"gossip with a label", "udp", gossipPort, labelled},
	{"a gossip stream under another key", "tcp", gossipPort, stream},
	{"a gossip stream in the clear", "tcp", gossipPort, gossipMessage},
	{"a gossip stream that promises 4 GiB", "tcp", gossipPort, func(r *rand.Rand) []byte {
		return append([]byte{streamEncrypted, 0xff, 0xff, 0xff, 0xff}, randomBytes(r)...)
	}},
	{"HTTP", "tcp", gossipPort, httpRequest},
	{"HTTP", "tcp", peerPort, httpRequest},
	{"half a TLS greeting", "tcp", peerPort, halfGreeting},
	{wrongCertificate, "tcp", peerPort, httpRequest},
	{wrongCertificate, "tcp", peerPort, randomBytes},
}

// Bytes with which memberlist's messages begin.
const (
	lastMessage     = 13
	streamEncrypted = 10
	labelFollows    = 244
)

func randomBytes(r *rand.Rand) []byte {
	b := make([]byte, 1+r.IntN(1200))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// gossipMessage is a message of some kind with a sound body in msgpack (a ping's), or with one that is cut off.
func gossipMessage(r *rand.Rand) []byte {
	b := []byte{byte(r.IntN(lastMessage + 1)), 0x82, 0xa5}
	b = append(b, "SeqNo"...)
	b = append(b, 0xce)
	b = binary.BigEndian.AppendUint32(b, r.Uint32())
	b = append(b, 0xa4)
	b = append(b, "Node"...)
	b = append(b, 0xa2, 'h', byte('1'+r.IntN(9)))
	if r.IntN(3) == 0 {
		b = b[:1+r.IntN(len(b)-1)]
	}
	return b
}

// encrypted is a message as memberlist encrypts it, under a key that nobody has.
func encrypted(r *rand.Rand, message, with []byte) []byte {
	key, nonce := make([]byte, 32), make([]byte, 12)
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	for i := range nonce {
		nonce[i] = byte(r.Uint32())
	}
	block, err := aes.NewCipher(key)
	var box cipher.AEAD
	if err == nil {
		box, err = cipher.NewGCM(block)
	}
	if err != nil {
		panic(fmt.Sprintf("AES-GCM with a key of 32 bytes: %v", err)) // it takes those
	}
	version := byte(r.IntN(2)) // both that there are
	return box.Seal(append([]byte{version}, nonce...), nonce, message, with)
}

// overhead is what encryption adds: version, nonce and tag.
const overhead = 1 + 12 + 16

func stream(r *rand.Rand) []byte {
	message := gossipMessage(r)
	head := binary.BigEndian.AppendUint32([]byte{streamEncrypted}, uint32(len(message)+overhead))
	return append(head, encrypted(r, message, head)...)
}

func labelled(r *rand.Rand) []byte {
	return append([]byte{labelFollows, 3, 'l', 'a', 'b'}, encrypted(r, gossipMessage(r), nil)...)
}

func httpRequest(r *rand.Rand) []byte {
	return fmt.Appendf(nil, "POST /v1/%x HTTP/1.1\r\nHost: h1\r\nContent-Length: 2\r\n\r\n{}", r.Uint32())
}

// halfGreeting is a TLS record that is called a ClientHello and is none.
func halfGreeting(r *rand.Rand) []byte {
	body := randomBytes(r)
	head := binary.BigEndian.AppendUint16([]byte{22, 3, 1}, uint16(len(body)+r.IntN(3)))
	body[0] = 1 // ClientHello
	return append(head, body...)
}

// strangersCertificate calls itself h1, signed by nobody but itself.
func strangersCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a stranger's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "h1"}, DNSNames: []string{"h1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a stranger's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

package cluster

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// Keys are what the cluster's secret becomes: HKDF (RFC 5869) with SHA-256, the cluster's name as salt, and a label for
// each use, so that no key tells anything of another.
type Keys struct {
	Gossip []byte             // 32 bytes: AES-256-GCM of memberlist
	ca     ed25519.PrivateKey // signs every node's certificate; the same on all hosts that have the secret
	root   *x509.Certificate
	id     string
	also   []Keys // of other secrets that are accepted beside this one
}

// Also gives these keys with others that are accepted beside them: what is sent and signed is so by these.
func (k Keys) Also(others ...Keys) Keys {
	k.also = others
	return k
}

// GossipAlso are the keys of gossip that are accepted beside Gossip.
func (k Keys) GossipAlso() (out [][]byte) {
	for _, o := range k.also {
		out = append(out, o.Gossip)
	}
	return out
}

// IDs are short names of the secrets, the one in use first, for people to compare: they tell nothing of the secrets.
func (k Keys) IDs() []string {
	out := []string{k.id}
	for _, o := range k.also {
		out = append(out, o.id)
	}
	return out
}

// secretIDBytes is the length of a secret's short name.
const secretIDBytes = 4

// SecretMin is the least number of bytes of a secret.
const SecretMin = 16

// DeriveKeys makes the keys of one cluster.
func DeriveKeys(secret []byte, cluster string) (Keys, error) {
	if len(secret) < SecretMin {
		return Keys{}, fmt.Errorf("the cluster secret has %d bytes, at least %d are needed; make one with `nightporter keygen`", len(secret), SecretMin)
	}
	gossip, err := hkdf.Key(sha256.New, secret, []byte(cluster), "nightporter gossip v1", 32)
	if err != nil {
		return Keys{}, fmt.Errorf("deriving the gossip key: %w", err)
	}
	seed, err := hkdf.Key(sha256.New, secret, []byte(cluster), "nightporter ca v1", ed25519.SeedSize)
	if err != nil {
		return Keys{}, fmt.Errorf("deriving the authority's key: %w", err)
	}
	id, err := hkdf.Key(sha256.New, secret, []byte(cluster), "nightporter secret id v1", secretIDBytes)
	if err != nil {
		return Keys{}, fmt.Errorf("deriving the secret's name: %w", err)
	}
	k := Keys{Gossip: gossip, ca: ed25519.NewKeyFromSeed(seed), id: hex.EncodeToString(id)}
	if k.root, err = authority(k.ca, cluster); err != nil {
		return Keys{}, err
	}
	return k, nil
}

// DeriveAll makes the keys of one cluster from what its secret file has: the first secret is used, the others are accepted as well.
func DeriveAll(secrets [][]byte, cluster string) (Keys, error) {
	var all []Keys
	for _, s := range secrets {
		k, err := DeriveKeys(s, cluster)
		if err != nil {
			return Keys{}, err
		}
		all = append(all, k)
	}
	if len(all) == 0 {
		return Keys{}, errors.New("there is no cluster secret")
	}
	return all[0].Also(all[1:]...), nil
}

// The certificates carry no meaning in their dates: a host that wakes with a wrong clock must still be let in.
var (
	validFrom  = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

func authority(key ed25519.PrivateKey, cluster string) (*x509.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nightporter cluster " + cluster},
		NotBefore: validFrom, NotAfter: validUntil, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the cluster's certificate authority: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Identity is one node's own key and certificate. The key is made once and never leaves its host; its digest, the pin,
// stands in the node's record.
type Identity struct {
	node string
	pin  string
	cert tls.Certificate
	pool *x509.CertPool
}

// Pin is the hex SHA-256 of the public key (SubjectPublicKeyInfo).
func (i *Identity) Pin() string { return i.pin }

// keyFile is the node key's name in the data directory.
const keyFile = "node.key"

// LoadIdentity reads the node's key from dir, or makes it there (mode 0600).
func LoadIdentity(dir string, keys Keys, node string) (*Identity, error) {
	path := filepath.Join(dir, keyFile)
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(path)
	}
	if err != nil {
		return nil, err
	}
	return NewIdentity(key, keys, node)
}

// NewIdentity certifies a key for a node.
func NewIdentity(key ed25519.PrivateKey, keys Keys, node string) (*Identity, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: node}, DNSNames: []string{node},
		NotBefore: validFrom, NotAfter: validUntil, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(node); ip != nil { // a host may be named like an address; TLS then looks for it there
		t.IPAddresses = []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, keys.root, key.Public(), keys.ca)
	if err != nil {
		return nil, fmt.Errorf("certifying this node's key: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certifying this node's key: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(keys.root)
	for _, o := range keys.also {
		pool.AddCert(o.root)
	}
	return &Identity{
		node: node, pin: pinOf(leaf), pool: pool,
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
	}, nil
}

func pinOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

func readKey(path string) (ed25519.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading this node's key: %w", diskHint(err))
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("this node's key %s is damaged: it is no PEM file; put a copy back, or remove it, run `nightporter forget` for this node elsewhere, and start again", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("this node's key %s is damaged: %w", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("this node's key %s is no Ed25519 key", path)
	}
	return key, nil
}

func makeKey(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making this node's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("making this node's key: %w", err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	// The draft lies beside the key: a crash must not leave a private key in a directory that all share.
	beside := renameio.WithTempDir(filepath.Dir(path))
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithStaticPermissions(0o600), beside); err != nil {
		return nil, fmt.Errorf("writing this node's key to %s: %w", path, diskHint(err))
	}
	return key, nil
}

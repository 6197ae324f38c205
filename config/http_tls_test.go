package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nightporter/internal/testcert"
)

func TestReadKeyPair(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	testcert.Write(t, in("crt"), in("key"), time.Now().Add(time.Hour))
	testcert.Write(t, in("other.crt"), in("other.key"), time.Now().Add(time.Hour))
	testcert.Write(t, in("x.crt"), in("open.key"), time.Now().Add(time.Hour))
	for name, mode := range map[string]os.FileMode{"open.key": 0o604, "other.key": 0o640} {
		if err := os.Chmod(in(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ cert, key, want string }{
		{"crt", "key", ""},
		{"other.crt", "other.key", ""}, // its group may
		{"crt", "other.key", "are no pair that TLS can use"},
		{"key", "crt", "can be read by everybody"}, // a certificate is for everybody
		{"x.crt", "open.key", "can be read by everybody (mode 0604); run `chmod 600"},
		{"none", "key", "there is no certificate file"},
		{"crt", "none", "there is no key file"},
		{".", "key", "is not a regular file"},
	} {
		if c.key == "crt" {
			if err := os.Chmod(in("crt"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		pair, err := ReadKeyPair(in(c.cert), in(c.key))
		switch {
		case c.want == "" && (err != nil || pair.Leaf == nil):
			t.Errorf("%s and %s: %v", c.cert, c.key, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s and %s: %v, want %s", c.cert, c.key, err, c.want)
		}
	}
}

// A certificate that is no good is a note, as a token that is none.
func TestACertificateThatIsNoGoodIsANote(t *testing.T) {
	text := withSecret(t, []byte("cluster: c\ninterface: eth0\nhttp: {tls_cert_file: /nowhere/crt, tls_key_file: /nowhere/key}\n"))
	c, err := Parse("f.yaml", text, "a", machine)
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP.CertFile != "/nowhere/crt" || c.HTTP.KeyFile != "/nowhere/key" || len(c.Notes) != 1 ||
		!strings.Contains(c.Notes[0], "status page and metrics stay shut: there is no certificate file /nowhere/crt") {
		t.Errorf("%+v, notes %q", c.HTTP, c.Notes)
	}
}

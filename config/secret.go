package config

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// secretSize is the length of a cluster secret in bytes. Everything else (gossip key, certificate authority) is derived
// from it, so it has the full strength of the strongest of these.
const secretSize = 32

// SecretsMost is how many secrets a file may have: the one in use, and while it is changed the next or the former one.
const SecretsMost = 2

// secretFileLimit bounds what is read from a secret file: comments, and 44 characters for each secret.
const secretFileLimit = 4096

// NewSecret makes the contents of a secret file: a comment and 32 random bytes in base64.
func NewSecret() []byte {
	raw := make([]byte, secretSize)
	rand.Read(raw) // never fails: the runtime stops the program instead
	return []byte("# nightporter cluster secret. The same file belongs on every host of the cluster, readable by its owner only.\n" +
		base64.StdEncoding.EncodeToString(raw) + "\n")
}

// FormatSecrets makes the contents of a secret file: the one in use first.
func FormatSecrets(secrets [][]byte) []byte {
	out := []byte("# nightporter cluster secret. The same file belongs on every host of the cluster, readable by its owner only.\n")
	for i, s := range secrets {
		if i == 1 {
			out = append(out, "# Accepted as well, while the secret is changed (nightporter secret).\n"...)
		}
		out = append(append(out, base64.StdEncoding.EncodeToString(s)...), '\n')
	}
	return out
}

// ReadSecrets reads a secret file: the secret in use, and one more that is accepted as well while it is changed. A file that its group or
// others can read is refused: whoever has a secret can become a member of the cluster.
func ReadSecrets(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, secretError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, secretError(path, err)
	}
	if err := checkSecretMode(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, secretFileLimit+1))
	if err != nil {
		return nil, secretError(path, err)
	}
	return parseSecrets(path, data)
}

// statSecret finds what is wrong with a secret file without reading it.
func statSecret(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return secretError(path, err)
	}
	return checkSecretMode(path, info)
}

func checkSecretMode(path string, info fs.FileInfo) error {
	switch perm := info.Mode().Perm(); {
	case !info.Mode().IsRegular():
		return fmt.Errorf("the secret file %s is not a regular file; make one with `nightporter keygen`", path)
	case perm&0o077 != 0:
		return fmt.Errorf("the secret file %s can be read by others (mode %04o); run `chmod 600 %s`, and make a new secret if strangers had access to it", path, perm, path)
	}
	return nil
}

func secretError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no secret file %s; make it on one host with `nightporter keygen --out %s` and copy it to the others: %w", path, path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the secret file %s cannot be read by this user; run as root or as the file's owner: %w", path, err)
	}
	return fmt.Errorf("read the secret file %s: %w", path, err)
}

func parseSecrets(path string, data []byte) ([][]byte, error) {
	bad := func(why string) error {
		return fmt.Errorf("the secret file %s is damaged (%s); copy it again from another host, or make a new one for all hosts with `nightporter keygen`", path, why)
	}
	if len(data) > secretFileLimit {
		return nil, bad("it is too long")
	}
	var out [][]byte
	for line := range bytes.Lines(data) {
		s := strings.TrimSpace(string(line))
		if s == "" || strings.HasPrefix(s, "#") {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			return nil, bad("it is not base64")
		}
		if len(raw) != secretSize {
			return nil, bad(fmt.Sprintf("it has %d bytes instead of %d", len(raw), secretSize))
		}
		if len(out) == 1 && bytes.Equal(out[0], raw) {
			return nil, bad("it has the same secret twice")
		}
		if out = append(out, raw); len(out) > SecretsMost {
			return nil, bad(fmt.Sprintf("it has more than %d secrets", SecretsMost))
		}
	}
	if len(out) == 0 {
		return nil, bad("it is empty")
	}
	return out, nil
}

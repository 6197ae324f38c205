package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// pairFileLimit is far more than a chain of certificates takes.
const pairFileLimit = 1 << 20

// ReadKeyPair reads a certificate, with those that lead to its authority, and its key, in PEM. A key that everybody can read is refused; a group may,
// as Debian's ssl-cert does.
func ReadKeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, _, err := readPEM("certificate", certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, mode, err := readPEM("key", keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	if mode&0o007 != 0 {
		return tls.Certificate{}, fmt.Errorf("the key file %s can be read by everybody (mode %04o); run `chmod 600 %s`, and make a new key if strangers had access to it", keyFile, mode, keyFile)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("the certificate %s and the key %s are no pair that TLS can use: %w", certFile, keyFile, err)
	}
	return pair, nil
}

func readPEM(what, path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, fmt.Errorf("there is no %s file %s: %w", what, path, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, 0, fmt.Errorf("the %s file %s cannot be read by this user: %w", what, path, err)
	case err != nil:
		return nil, 0, fmt.Errorf("open the %s file: %w", what, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("the %s file %s is not a regular file", what, path)
	}
	var data []byte
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(f, pairFileLimit))
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the %s file %s: %w", what, path, err)
	}
	return data, info.Mode().Perm(), nil
}

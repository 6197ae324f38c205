package config

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Canary says who has a host show, by one supervised sleep, that it can be woken.
type Canary string

// The forms.
const (
	CanaryAuto   Canary = "auto"   // the cluster, when the host is idle; where it does not go to sleep by itself, an operator
	CanaryManual Canary = "manual" // an operator, with `nightporter canary`
	CanaryOff    Canary = "off"    // nobody: the host may sleep without having shown it
)

// passwordSize is the length of a SecureOn password in bytes.
const passwordSize = 6

// passwordLimit bounds what is read from a password's file.
const passwordLimit = 256

// wolPassword reads six bytes like a hardware address, the path of a file with them, or none.
func (r *reader) wolPassword(n ast.Node) value[string] {
	v := r.text(n, "six bytes like 00:11:22:33:44:55, or the path of a file with them")
	if !v.set || filepath.IsAbs(v.v) || v.v == "none" {
		return v
	}
	if _, err := parsePassword(v.v); err != nil {
		r.problem(v.at, "%s", err)
		return value[string]{}
	}
	return v
}

func parsePassword(s string) ([]byte, error) {
	raw, err := hex.DecodeString(strings.NewReplacer(":", "", "-", "").Replace(s))
	if err != nil || len(raw) != passwordSize {
		return nil, fmt.Errorf("%q is no SecureOn password; write six bytes like 00:11:22:33:44:55, the path of a file with them, or none", s)
	}
	return raw, nil
}

// readPassword reads it from a file.
func readPassword(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the SecureOn password cannot be read from %s: %s; make the file, or write the six bytes themselves", path, unreadable(err))
	}
	if len(b) > passwordLimit {
		return nil, fmt.Errorf("the file %s is too long for a SecureOn password; write six bytes like 00:11:22:33:44:55 into it", path)
	}
	raw, err := parsePassword(string(bytes.TrimSpace(b)))
	if err != nil {
		return nil, fmt.Errorf("the file %s holds no SecureOn password; write six bytes like 00:11:22:33:44:55 into it", path)
	}
	return raw, nil
}

// judgePassword fills in the password where the file names a file, which is looked for on the host alone.
func (r *reader) judgePassword(f file, own host, c *Config) {
	v := first(own.wolPassword, f.wolPassword)
	if !v.set || !filepath.IsAbs(v.v) {
		return
	}
	raw, err := readPassword(v.v)
	if err != nil {
		r.problem(v.at, "%s", err)
		return
	}
	c.WoLPassword = raw
}

// password is what stands in the file itself.
func password(v value[string]) []byte {
	raw, err := parsePassword(v.v)
	if err != nil {
		return nil // there is none, or a path
	}
	return raw
}

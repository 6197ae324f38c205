package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsComeBackAndDiffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	var seen [][]byte
	for range 2 {
		if err := os.WriteFile(path, NewSecret(), 0o600); err != nil {
			t.Fatal(err)
		}
		raw, err := ReadSecrets(path)
		if err != nil || len(raw) != 1 || len(raw[0]) != 32 {
			t.Fatalf("got %d, %v", len(raw), err)
		}
		seen = append(seen, raw[0])
	}
	if bytes.Equal(seen[0], seen[1]) {
		t.Error("two secrets are the same")
	}
	if err := os.WriteFile(path, FormatSecrets(seen), 0o600); err != nil {
		t.Fatal(err)
	}
	if both, err := ReadSecrets(path); err != nil || len(both) != 2 || !bytes.Equal(both[0], seen[0]) || !bytes.Equal(both[1], seen[1]) {
		t.Errorf("two secrets came back as %d, %v", len(both), err)
	}
}

func TestSecretFilesThatAreRefused(t *testing.T) {
	good := string(NewSecret())
	for _, tc := range []struct {
		name string
		data string
		mode os.FileMode
		want string
	}{
		{"readable by the group", good, 0o640, "can be read by others (mode 0640); run `chmod 600 "},
		{"readable by all", good, 0o604, "can be read by others (mode 0604)"},
		{"writable by others", good, 0o602, "(mode 0602)"},
		{"empty", "# nothing\n\n", 0o600, "is damaged (it is empty)"},
		{"no base64", "open sesame!\n", 0o600, "is damaged (it is not base64)"},
		{"short", "c2hvcnQ=\n", 0o600, "is damaged (it has 5 bytes instead of 32)"},
		{"twice", good + good, 0o600, "is damaged (it has the same secret twice)"},
		{"three", good + string(NewSecret()) + string(NewSecret()), 0o600, "is damaged (it has more than 2 secrets)"},
		{"long", strings.Repeat("#", 5000), 0o600, "is damaged (it is too long)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(path, []byte(tc.data), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			raw, err := ReadSecrets(path)
			if raw != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %v; want an error with %q", raw, err, tc.want)
			}
			if tc.mode == 0o600 {
				return
			}
			_, err = Parse("f.yaml", []byte("cluster: c\ninterface: eth0\nsecret_file: "+path+"\n"), "a", machine)
			if err == nil || !strings.Contains(err.Error(), "f.yaml:3:14: the secret file "+path+" can be read by others") {
				t.Errorf("the file's check says %v", err)
			}
		})
	}
	if _, err := ReadSecrets(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a directory: got %v", err)
	}
	if _, err := ReadSecrets(filepath.Join(t.TempDir(), "absent")); err == nil || !strings.Contains(err.Error(), "nightporter keygen --out") {
		t.Errorf("an absent file: got %v", err)
	}
}

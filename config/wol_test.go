package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A password in a file is read on the host that it is for, and nowhere else.
func TestPasswordFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sopass")
	text := "cluster: c\ninterface: eth0\nwol_password: " + path + "\n"
	if c, err := Parse("f.yaml", []byte(text), "alpha", nil); err != nil || c.WoLPassword != nil {
		t.Errorf("the file alone: %v, %v", c, err)
	}
	for content, want := range map[string]string{
		"00:11:22:33:44:55\n": "", "001122334455": "", "00:11": "holds no SecureOn password", strings.Repeat("0", 300): "too long", "missing": "there is no such file",
	} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if content != "missing" {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Parse("f.yaml", withSecret(t, []byte(text)), "alpha", machine)
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "f.yaml:3:15")):
			t.Errorf("%q: %v", content, err)
		case want == "" && (err != nil || string(c.WoLPassword) != "\x00\x11\x22\x33\x44\x55"):
			t.Errorf("%q: %+v, %v", content, c, err)
		}
	}
}

func TestNoPassword(t *testing.T) {
	c, err := Parse("f.yaml", []byte("cluster: c\nwol_password: none\n"), "alpha", nil)
	if err != nil || c.WoLPassword != nil || c.Canary != CanaryAuto {
		t.Errorf("%+v, %v", c, err)
	}
}

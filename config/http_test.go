package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHTTPWhereItListens(t *testing.T) {
	const token = ", token_file: /etc/t"
	for text, want := range map[string]string{
		"":                                        "127.0.0.1:7375",
		"http: off":                               "invalid AddrPort",
		"http: {}":                                "127.0.0.1:7375",
		"http: {listen: off}":                     "invalid AddrPort",
		"http: {listen: off" + token + "}":        "invalid AddrPort",
		"http: {listen: 127.0.0.1:80}":            "127.0.0.1:80",
		`http: {listen: "[::1]:80"}`:              "[::1]:80",
		"http: {token_file: none}":                "127.0.0.1:7375",
		"http: {listen: lan" + token + "}":        "192.0.2.11:7375",
		"http: {listen: lan:81" + token + "}":     "192.0.2.11:81",
		"http: {listen: 0.0.0.0:81" + token + "}": "0.0.0.0:81",
	} {
		c, err := Parse("f.yaml", []byte("cluster: c\naddress: 192.0.2.11\n"+text+"\n"), "alpha", nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := c.HTTPAddr().String(); got != want || c.HTTP.Off() != (got == netip.AddrPort{}.String()) {
			t.Errorf("%s: listens at %s (%+v), want %s", text, got, c.HTTP, want)
		}
		if strings.Contains(text, token) != (c.HTTP.TokenFile == "/etc/t") {
			t.Errorf("%s: %+v", text, c.HTTP)
		}
	}
}

// What stands under nodes stands for the whole of the section.
func TestHTTPOfOneHost(t *testing.T) {
	text := "cluster: c\nhttp: {listen: lan, token_file: /etc/t}\nnodes:\n  a: {address: 192.0.2.1, http: {listen: 127.0.0.1:80}}\n  b: {address: 192.0.2.2}\n"
	a, err := Parse("f.yaml", []byte(text), "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse("f.yaml", []byte(text), "b", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !a.HTTP.Local() || a.HTTP.TokenFile != "" || b.HTTP.Local() || b.HTTPAddr().String() != "192.0.2.2:7375" {
		t.Errorf("a: %+v, b: %+v", a.HTTP, b.HTTP)
	}
}

func TestReadToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for content, want := range map[string]string{
		"# the page's\n0123456789abcdef\n":     "",
		"0123456789abcde\n":                    "16 to 256 visible characters",
		"":                                     "16 to 256 visible characters",
		"0123456789abcdef 0123\n":              "without spaces",
		"0123456789abcdeé\n":                   "visible characters",
		strings.Repeat("a", 257):               "16 to 256 visible characters",
		"0123456789abcdef\n0123456789abcdef\n": "more than one line",
		"0123456789abcdef\n" + strings.Repeat("# a comment\n", 10000): "one line of",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadToken(path)
		switch {
		case want == "" && (err != nil || got != "0123456789abcdef"):
			t.Errorf("%.40q: %q, %v", content, got, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || got != ""):
			t.Errorf("%.40q: %q, %v", content, got, err)
		}
		if err != nil && content != "" && strings.Contains(err.Error(), content[:min(len(content), 10)]) {
			t.Errorf("the sentence has the token in it: %v", err)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadToken(path); err == nil || !strings.Contains(err.Error(), "can be read by others (mode 0640)") {
		t.Errorf("a file of mode 0640: %v", err)
	}
}

// A token file that is no good is a note: the agent has more to do than to be looked at.
func TestATokenFileThatIsNoGoodIsANote(t *testing.T) {
	for file, want := range map[string]string{"/nowhere/token": "there is no token file /nowhere/token; make it with", "SECRET": "is the cluster's secret"} {
		text := withSecret(t, []byte("cluster: c\ninterface: eth0\n"))
		c, err := Parse("f.yaml", text, "a", machine)
		if err != nil {
			t.Fatal(err)
		}
		file = strings.ReplaceAll(file, "SECRET", c.SecretFile)
		c, err = Parse("f.yaml", append(text, []byte("\nhttp: {listen: lan, token_file: "+file+"}\n")...), "a", machine)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "status page and metrics stay shut: ") || !strings.Contains(c.Notes[0], want) {
			t.Errorf("%s: %q", file, c.Notes)
		}
	}
}

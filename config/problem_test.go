package config

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// machine is a host whose only interface is eth0, with the group adm and the commands systemctl and sh.
var machine = &Machine{
	Prefixes:   lan,
	HasGroup:   func(name string) bool { return name == "adm" },
	HasCommand: func(name string) bool { return name == "systemctl" || name == "sh" },
	HasFile:    func(path string) bool { return path == "/etc/nightporter/checks.d/there" },
	OnDisk:     func(dir string) bool { return strings.HasPrefix(dir, "/var") },
}

// with is that machine with other addresses.
func with(list []netip.Prefix) *Machine {
	m := *machine
	m.Prefixes = func(string) ([]netip.Prefix, error) { return list, nil }
	return &m
}

func lan(iface string) ([]netip.Prefix, error) {
	if iface != "eth0" {
		return nil, errors.New("this host has no such interface; it has lo, eth0")
	}
	return []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("2001:db8::11/64")}, nil
}

// golden compares got with the file beside the input, and writes it when asked to.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func inputs(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no inputs in testdata/%s: %v", dir, err)
	}
	return files
}

// withSecret gives the file a good secret unless it names one: the problem under test is another.
func withSecret(t *testing.T, data []byte) []byte {
	if strings.Contains(string(data), "secret_file:") || len(data) == 0 || data[0] == '#' {
		return data
	}
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, NewSecret(), 0o600); err != nil {
		t.Fatal(err)
	}
	// At the end, so that line numbers stay; before a second document, which would swallow it.
	head, tail, _ := strings.Cut(string(data), "\n---\n")
	out := strings.TrimRight(head, "\n") + "\nsecret_file: " + path + "\n"
	if tail != "" {
		out += "---\n" + tail
	}
	return []byte(out)
}

func TestProblemsOfFiles(t *testing.T) {
	for _, path := range inputs(t, "problems") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse("nightporter.yaml", withSecret(t, data), "alpha", machine)
			if _, ok := errors.AsType[*Problems](err); !ok || c != nil {
				t.Fatalf("got config %v and error %v, want *Problems alone", c, err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

func TestProblemsOfServices(t *testing.T) {
	prefixes, err := lan("eth0")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range inputs(t, "services") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			list, err := LoadServices("services.yaml", f, prefixes)
			if _, ok := errors.AsType[*Problems](err); !ok || list != nil {
				t.Fatalf("got %v and error %v, want *Problems alone", list, err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

func TestLoadOfFilesThatCannotBeRead(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "absent.yaml"), "alpha", nil)
	if err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Errorf("got %v", err)
	}
	_, err = Load(t.TempDir(), "alpha", nil)
	if err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("got %v", err)
	}
}

func TestNodeThatIsNotInTheFile(t *testing.T) {
	_, err := Parse("f.yaml", []byte("cluster: home\nnodes: {alpha: , bravo: }\n"), "alhpa", nil)
	if err == nil || !strings.Contains(err.Error(), `f.yaml:2:1: nodes has no entry for this host, "alhpa"; did you mean "alpha"?`) {
		t.Errorf("got %v", err)
	}
	_, err = Parse("f.yaml", []byte("cluster: home\n"), "Alpha.example", nil)
	if err == nil || !strings.Contains(err.Error(), "cannot be the name of this host") {
		t.Errorf("got %v", err)
	}
}

// FuzzParse: whatever the bytes, there is a config or a list of problems, and never both.
func FuzzParse(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add([]byte("a: &a [*a]\nservices: *a\nnodes: &b {x: *b}\n"))
	f.Add([]byte("cluster: |\n  x\ninterface: !!str eth0\n<<: {a: b}\n? [x]\n: y\n"))
	for _, dir := range []string{"problems", "services"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f.yaml", data, "alpha", nil)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v and error %v", c, err)
		}
		if err != nil && err.Error() == "" {
			t.Fatal("an error without a word")
		}
		list, err := LoadServices("f.yaml", strings.NewReader(string(data)), nil)
		if list != nil && err != nil {
			t.Fatalf("services %v and error %v", list, err)
		}
	})
}

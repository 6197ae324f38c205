// Package packaging holds the test of install and uninstall.
package packaging

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shell runs one of the scripts against a folder of the test.
func shell(t *testing.T, script, root string, env ...string) {
	t.Helper()
	cmd := exec.Command("bash", script)
	cmd.Env = append(os.Environ(), append([]string{"DESTDIR=" + root, "PREFIX=/opt/np"}, env...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func files(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != root {
			rel := strings.TrimPrefix(path, root)
			if d.IsDir() {
				rel += "/"
			}
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// clone copies what the scripts need into a tree of its own, with a binary that only knows its completions and its manual: the test
// must not write into the project's bin.
func clone(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	for _, name := range []string{
		"packaging/install", "packaging/uninstall", "packaging/places", "packaging/prometheus/alerts.yaml", "packaging/grafana/nightporter.json", "packaging/nightporter.service", "packaging/nightporter-held@.target", "config/example.yaml",
		"packaging/network/01-nightporter.link", "packaging/network/01-nightporter.network",
		"packaging/network/nightporter-networkd.conf", "packaging/network/nightporter-NetworkManager.conf",
	} {
		data, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(tree, name), string(data))
	}
	write(t, filepath.Join(tree, "bin/nightporter"), `#!/bin/sh
[ "$1" = completion ] && echo "completion for $2" && exit
mkdir -p "$2/man1" "$2/man5" && echo page >"$2/man1/nightporter.1" && echo page >"$2/man1/nightporter-status.1" && echo page >"$2/man5/nightporter.yaml.5"
`)
	return tree
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestUninstallLeavesNothingOfInstall(t *testing.T) {
	tree, root := clone(t), t.TempDir()
	install, uninstall := filepath.Join(tree, "packaging/install"), filepath.Join(tree, "packaging/uninstall")
	shell(t, install, root)
	got := files(t, root)
	for _, want := range []string{
		"/opt/np/bin/nightporter", "/opt/np/lib/systemd/system/nightporter.service", "/opt/np/lib/systemd/system/nightporter-held@.target", "/etc/nightporter/nightporter.yaml.example",
		"/opt/np/share/bash-completion/completions/nightporter", "/etc/nightporter/checks.d/", "/opt/np/share/man/man1/nightporter-status.1.gz",
		"/opt/np/share/man/man5/nightporter.yaml.5.gz", "/opt/np/share/nightporter/prometheus-alerts.yaml", "/opt/np/lib/systemd/network/01-nightporter.network", "/etc/NetworkManager/conf.d/nightporter.conf",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s was not installed; there are %v", want, got)
		}
	}
	unit, err := os.ReadFile(filepath.Join(root, "opt/np/lib/systemd/system/nightporter.service"))
	if err != nil || !strings.Contains(string(unit), "ExecStart=/opt/np/bin/nightporter agent") || strings.Contains(string(unit), "@") && strings.Contains(string(unit), "@PREFIX@") {
		t.Errorf("the unit does not start the binary that was installed: %v\n%s", err, unit)
	}

	// What is the operator's stays until it is purged, over an install in between too.
	write(t, filepath.Join(root, "etc/nightporter/secret"), "mine")
	write(t, filepath.Join(root, "var/lib/nightporter/raft.db"), "state")
	shell(t, uninstall, root)
	shell(t, install, root)
	shell(t, uninstall, root)
	left := slices.DeleteFunc(files(t, root), func(f string) bool { return strings.HasSuffix(f, "/") })
	if !slices.Equal(left, []string{"/etc/nightporter/secret", "/var/lib/nightporter/raft.db"}) {
		t.Errorf("left after uninstall: %v", left)
	}
	shell(t, install, root)
	shell(t, uninstall, root, "PURGE=1")
	left = slices.DeleteFunc(files(t, root), func(f string) bool {
		return f == "/etc/" || f == "/var/" || f == "/var/lib/" || f == "/opt/" || f == "/opt/np/"
	})
	if len(left) > 0 {
		t.Errorf("left after a purge: %v", left)
	}
}

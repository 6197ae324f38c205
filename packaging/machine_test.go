package packaging

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/internal/nstest"
)

// machineLimit bounds the life of a machine; it needs some seconds.
const machineLimit = 2 * time.Minute

// boot runs a script on a machine of its own with a real systemd (testdata/machine), and gives what it said. dir is /test there.
func boot(t *testing.T, dir, script string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", script))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "script"), string(text))
	ctx, cancel := context.WithTimeout(t.Context(), machineLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc", "--cgroup", "bash", "testdata/machine", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(nstest.Group(t).Fd())}
	out, err := cmd.CombinedOutput()
	said := func(name string) string {
		body, _ := os.ReadFile(filepath.Join(dir, name)) // what is not there says nothing
		return strings.ReplaceAll(string(body), "\x00", "")
	}
	if err != nil || strings.TrimSpace(said("status")) != "0" {
		t.Fatalf("the machine ended with %v, its script with status %q\n%s\nthe script:\n%s\nsystemd:\n%s\nthe agent:\n%s",
			err, said("status"), out, said("console"), said("systemd"), said("agent.log"))
	}
	return said("console")
}

// debs builds packages of this machine's architecture out of the working tree, by the names of their versions.
func debs(t *testing.T, dir string, versions ...string) {
	t.Helper()
	arch, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("make", "-C", "..", "build")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	for _, v := range versions {
		name, _, _ := strings.Cut(v, "-") // v0.2-again is v0.2 once more
		cmd := exec.Command("bash", "deb/build", filepath.Join(dir, v), strings.TrimSpace(string(arch)))
		cmd.Env = append(os.Environ(), "VERSION="+name, "COMPRESS=none", "SOURCE_DATE_EPOCH=1700000000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the package %s: %v\n%s", v, err, out)
		}
	}
}

// A package is installed, configured, upgraded, downgraded, removed, installed again and purged on a machine with systemd; what must hold
// after each is in testdata/story.
func TestThePackageOnAMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a machine with a systemd of its own needs root")
	}
	for _, need := range []string{"dpkg-deb", "dpkg", "unshare", "script", "ip", "/lib/systemd/systemd", "/lib/systemd/systemd-networkd"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("this needs a Debian with systemd: %v", err)
		}
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	debs(t, dir, "v0.2", "v0.2-again", "v0.3")
	sameBytes(t, dir, "v0.2", "v0.2-again")
	t.Log(boot(t, dir, "story"))
}

// sameBytes wants equal packages in two folders.
func sameBytes(t *testing.T, dir, one, other string) {
	t.Helper()
	var bodies [2][]byte
	for i, v := range []string{one, other} {
		files, err := filepath.Glob(filepath.Join(dir, v, "*.deb"))
		if err != nil || len(files) != 1 {
			t.Fatalf("the packages of %s are %v (%v)", v, files, err)
		}
		if bodies[i], err = os.ReadFile(files[0]); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(bodies[0], bodies[1]) {
		t.Error("equal sources gave packages that differ")
	}
}

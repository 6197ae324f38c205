//go:build vm

package identity

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// vmKernel names a directory with an unpacked Debian kernel package: boot/vmlinuz-* and lib/modules (make vm-test).
const vmKernel = "NIGHTPORTER_VM_KERNEL"

// vmPatience bounds the life of a guest. Without hardware support it boots in half a minute, and slower on a busy machine.
const vmPatience = 10 * time.Minute

var vmModules = []string{
	"llc", "stp", "bridge", "veth", "macvlan", "sch_ingress", "cls_bpf", "nfnetlink", "libcrc32c", "crc32c_generic", "nf_tables",
}

// TestInAMachine runs TestRealSuspend in a virtual machine, in which this very program is the first process.
func TestInAMachine(t *testing.T) {
	if os.Getenv(guest) != "" {
		return // it is one
	}
	kernel := os.Getenv(vmKernel)
	images, err := filepath.Glob(filepath.Join(kernel, "boot", "vmlinuz-*"))
	if err != nil || len(images) == 0 {
		t.Fatalf("%s must name a directory with an unpacked kernel package; `make vm-test` fetches one", vmKernel)
	}
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(initrd, archive(t, kernel), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "qemu-system-x86_64", "-machine", "q35", "-global", "ICH9-LPC.disable_s3=0",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", "768", "-nographic", "-no-reboot", "-nic", "none",
		"-kernel", images[0], "-initrd", initrd,
		"-append", "console=ttyS0 quiet no_console_suspend panic=-1 "+guest+"=1 -- -test.run=TestRealSuspend -test.v -test.timeout=9m")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(vmPatience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	ended := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		t.Log(line)
		if _, status, ok := strings.Cut(line, guestSays); ok {
			ended = strings.TrimSpace(status)
		}
		if ended != "" {
			break // it switches itself off, or is switched off
		}
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	if ended != "0" {
		t.Errorf("the tests in the guest ended with status %q", ended)
	}
}

// archive is the guest's file system (cpio, "new ASCII"): this program, the modules, and the directories to mount on.
func archive(t *testing.T, kernel string) []byte {
	t.Helper()
	var b bytes.Buffer
	serial := 0
	entry := func(name string, mode, major, minor uint32, data []byte) {
		serial++
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", serial, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
		b.WriteString(name + "\x00")
		pad(&b)
		b.Write(data)
		pad(&b)
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "modules"} {
		entry(dir, unix.S_IFDIR|0o755, 0, 0, nil)
	}
	entry("dev/console", unix.S_IFCHR|0o600, 5, 1, nil)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	entry("init", unix.S_IFREG|0o755, 0, 0, program)
	err = filepath.WalkDir(filepath.Join(kernel, "lib", "modules"), func(path string, d fs.DirEntry, err error) error {
		name, is := strings.CutSuffix(filepath.Base(path), ".ko")
		if err != nil || !is || !slices.Contains(vmModules, name) {
			return err
		}
		data, err := os.ReadFile(path)
		entry("modules/"+name+".ko", unix.S_IFREG|0o644, 0, 0, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	entry("TRAILER!!!", 0, 0, 0, nil)
	return b.Bytes()
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}

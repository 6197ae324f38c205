package identity

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A trial finds this machine's kernel fit, and leaves nothing: no link, and no pin. Without root in the machine's own user namespace BPF
// cannot be had, and the trial says so.
func TestTryLeavesNothing(t *testing.T) {
	bpf := os.Getenv(root) != ""
	if bpf { // its own file system: others on this machine pin, too
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount("/sys/fs/bpf", 0)
	}
	got, err := Try()
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"macvlan": got.Macvlan, "nftables": got.NFTables, "packet": got.Packet} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if (got.Exact == nil) != bpf {
		t.Errorf("BPF can be had: %v; the trial says %v", bpf, got.Exact)
	}
	if bpf && len(got.Limits) > 0 {
		t.Errorf("with a BPF file system: %q", got.Limits)
	}
	if links, err := net.Interfaces(); err != nil || len(links) != 1 {
		t.Errorf("left: %v %v", links, err)
	}
	if pins, _ := filepath.Glob(pinRoot + "/*"); bpf && len(pins) > 0 { // the pattern is a constant and sound
		t.Errorf("left: %v", pins)
	}
}

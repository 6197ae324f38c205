package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// guest is set where this program is the first process of a virtual machine (make vm-test).
const guest = "NIGHTPORTER_TEST_GUEST"

// boot makes the little that the tests need of a machine, runs them, says how that went, and switches off.
func boot(m *testing.M) int {
	for _, one := range []struct{ kind, at string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/tmp"}, {"bpf", "/sys/fs/bpf"},
	} {
		if err := unix.Mount(one.kind, one.at, one.kind, 0, ""); err != nil {
			fmt.Println("mounting", one.at, err)
		}
	}
	loadModules("/modules")
	os.Setenv(inside, "1")
	os.Setenv(root, "1")
	fmt.Println(guestSays, m.Run())
	fmt.Println("off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	return 1
}

// guestSays comes before the exit status on the console.
const guestSays = "the tests in the guest ended with status"

// loadModules loads what is there, in whatever order works.
func loadModules(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "*.ko"))
	for progress := true; progress && len(left) > 0; {
		progress = false
		var again []string
		for _, path := range left {
			if err := loadModule(path); err != nil {
				again = append(again, path)
				continue
			}
			progress = true
		}
		left = again
	}
	if len(left) > 0 {
		fmt.Println("not loaded:", left)
	}
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

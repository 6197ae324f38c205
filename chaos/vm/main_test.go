//go:build vm

package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"nightporter/internal/nstest"
)

// What `make vm-test` has made: the program, and the directory of the guest's Debian.
var program, system string

func TestMain(m *testing.M) {
	guestProgram()
	nstest.Main(m, func(string) (err error) {
		if program, err = filepath.Abs("../../bin/nightporter"); err != nil {
			return err
		}
		system = os.Getenv(systemDir)
		for _, path := range []string{program, filepath.Join(system, "vmlinuz"), filepath.Join(system, "root.cpio"), filepath.Join(system, "vmlinuz-cards"), filepath.Join(system, "cards.cpio")} {
			if _, err := os.Stat(path); err != nil {
				return fmt.Errorf("these tests are run by `make vm-test`: %w", err)
			}
		}
		return nil
	})
}

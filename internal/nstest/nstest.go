// Package nstest is what the tests that run the real program in network namespaces share: the program, built once with the
// race detector, and an end at which nothing may be left running.
package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// Main is the TestMain of such a package. prepare gets a directory that is gone afterwards.
func Main(m *testing.M, prepare func(dir string) error) {
	os.Exit(run(m, prepare))
}

func run(m *testing.M, prepare func(dir string) error) int {
	dir, err := os.MkdirTemp("", "nightporter-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = prepare(dir)
	}
	if err == nil {
		// Under -race every process sleeps for a second at its end, to let others print their races. The first race that
		// an agent finds ends it, so that no test passes over it.
		err = os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=10 halt_on_error=1"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// Program builds nightporter into dir and gives its path. flags are for go build.
func Program(dir, name string, flags ...string) (string, error) {
	path := filepath.Join(dir, name)
	args := append([]string{"build", "-race", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, "nightporter/cmd/nightporter")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // the race detector needs it
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program for the labs: %w\n%s", err, out)
	}
	return path, nil
}

package demo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// program is the program that all labs run. TestMain builds it once.
var program string

func TestMain(m *testing.M) {
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "nightporter-demo-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "nightporter")
	build := exec.Command("go", "build", "-race", "-o", program, "nightporter/cmd/nightporter")
	build.Env = append(os.Environ(), "CGO_ENABLED=1") // the race detector needs it
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program for the labs: %v\n%s", err, out)
		return 1
	}
	// Under -race every process sleeps for a second at its end, to let others print their races. The first race that an
	// agent finds ends it, so that no test passes over it.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=10 halt_on_error=1")); err != nil {
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

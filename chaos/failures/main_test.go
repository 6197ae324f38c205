package failures

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// program is the program that all labs run; newer is the same one with another protocol version. TestMain builds both.
var program, newer string

// TestMain has two lives: the hosts of a lab run this same binary for what they need done inside; see tool_test.go.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == toolWord {
		os.Exit(runTool(os.Args[2:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "nightporter-failures-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program, newer = filepath.Join(dir, "nightporter"), filepath.Join(dir, "newer")
	overlay, err := otherProtocol(dir)
	if err == nil {
		err = build(program)
	}
	if err == nil {
		err = build(newer, "-overlay", overlay)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
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

func build(to string, flags ...string) error {
	args := append([]string{"build", "-race", "-o", to}, flags...)
	cmd := exec.Command("go", append(args, "nightporter/cmd/nightporter")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // the race detector needs it
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program for the labs: %w\n%s", err, out)
	}
	return nil
}

// otherProtocol writes the file that makes `go build` take another version of one source file: there is no second version
// of the protocol yet, so one is made.
func otherProtocol(dir string) (overlay string, err error) {
	source, err := filepath.Abs(filepath.Join("..", "..", "agent", "assemble.go"))
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	changed := strings.Replace(string(text), "\nconst Protocol = 1\n", "\nconst Protocol = 2\n", 1)
	if changed == string(text) {
		return "", fmt.Errorf("%s does not say which protocol it speaks as this test expects it", source)
	}
	file := filepath.Join(dir, "assemble.go")
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q}}`, source, file), 0o600)
}

package failures

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nightporter/internal/nstest"
)

// program is the program that all labs run; newer is the same one with another protocol version. TestMain builds both.
var program, newer string

// TestMain has two lives: the hosts of a lab run this same binary for what they need done inside; see tool_test.go.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == toolWord {
		os.Exit(runTool(os.Args[2:]))
	}
	nstest.Main(m, func(dir string) (err error) {
		overlay, err := otherProtocol(dir)
		if err != nil {
			return err
		}
		if program, err = nstest.Program(dir, "nightporter"); err != nil {
			return err
		}
		newer, err = nstest.Program(dir, "newer", "-overlay", overlay)
		return err
	})
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

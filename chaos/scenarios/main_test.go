package scenarios

import (
	"fmt"
	"os"
	"testing"

	"nightporter/internal/nstest"
)

// program is the program that all labs run.
var program string

// TestMain has more than one life: a host of a lab runs this same binary as its server of sessions, or to receive events.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sessionWord {
		fmt.Fprintln(os.Stderr, serveSessions())
		os.Exit(1)
	}
	if len(os.Args) > 2 && os.Args[1] == receiverWord {
		fmt.Fprintln(os.Stderr, receiveEvents(os.Args[2]))
		os.Exit(1)
	}
	nstest.Main(m, func(dir string) (err error) {
		program, err = nstest.Program(dir, "nightporter")
		return err
	})
}

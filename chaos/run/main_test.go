package run

import (
	"testing"

	"nightporter/internal/nstest"
)

// program is the program that the laboratories run.
var program string

func TestMain(m *testing.M) {
	nstest.Main(m, func(dir string) (err error) {
		program, err = nstest.Program(dir, "nightporter")
		return err
	})
}

// Command nightporter keeps services reachable at a stable address while the hosts behind it sleep. `nightporter agent`
// is the daemon; every other verb talks to it, or works on files.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"nightporter/config"
)

// version is set by the linker: -X main.version=$(git describe).
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, &shell{
		out:      os.Stdout,
		err:      os.Stderr,
		in:       os.Stdin,
		version:  version,
		getenv:   os.Getenv,
		machine:  config.ThisMachine(),
		runAgent: runAgent,
	}, os.Args[1:])
	stop()
	os.Exit(code)
}

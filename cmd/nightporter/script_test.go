package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"nightporter/api"
)

var update = flag.Bool("update", false, "write the expected outputs in the scripts anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nightporter": main})
}

// Each script is a session at the shell, with the command as its own process and a daemon that is a fakeAgent.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// The path of a unix socket is short, that of a script's directory is not.
			dir, err := os.MkdirTemp("", "np")
			if err != nil {
				return err
			}
			socket := filepath.Join(dir, "s")
			env.Setenv("NIGHTPORTER_SOCKET", socket)
			// Under -race every process sleeps for a second at its end, to let others print their races.
			env.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=10"))
			l, err := api.Listen(socket, "")
			if err != nil {
				return err
			}
			s := api.NewServer(newFake(), slog.New(slog.DiscardHandler))
			done := make(chan error, 1)
			go func() { done <- s.Serve(l) }()
			env.Defer(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				if err := errors.Join(s.Close(ctx), <-done, os.RemoveAll(dir)); err != nil {
					t.Error(err)
				}
			})
			return nil
		},
		// `code N COMMAND...` runs nightporter and wants that exit code.
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": wantCode},
	})
}

func wantCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N ARGUMENT...")
	}
	err := ts.Exec("nightporter", args[1:]...)
	got := "exit status " + args[0]
	switch {
	case err == nil && args[0] == "0":
	case err == nil:
		ts.Fatalf("exit code 0, want %s", args[0])
	case err.Error() != got:
		ts.Fatalf("%v, want %s", err, got)
	}
}

package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nightporter/chaos/lab"
	"nightporter/internal/labpage"
)

// TestMain lets the test binary be the program that a lab runs, so that nothing has to be built first.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		if os.Args[2] == "own" {
			own(ctx)
			return
		}
		if os.Args[2] == "page" {
			showPage()
			return
		}
		if err := lab.Inner(ctx, os.Args[2:], slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Under -race every process sleeps for a second at its end, to let others print their races; two per lab.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=10")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// own is a lab's owner that a test can kill: it builds a lab, says where and waits for ever.
func own(ctx context.Context) {
	l, err := lab.Up(ctx, lab.Options{Hosts: 2, NoAgent: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(l.Dir())
	<-ctx.Done()
}

// showPage is what an agent does with its host's page.
func showPage() {
	p, err := labpage.Open(os.Getenv(labpage.Env))
	if err == nil && p == nil {
		err = errors.New("there is no page")
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(p.Load())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// limit bounds every wait of a test; nothing waits for it to pass.
func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// up builds a lab that the end of the test takes down, and shows its logs when the test failed.
func up(t testing.TB, o lab.Options) *lab.Lab {
	t.Helper()
	l, err := lab.Up(limit(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(l.Dir() + "/*.log")
			more, _ := filepath.Glob(l.Dir() + "/hosts/*/*.log")
			for _, path := range append(logs, more...) {
				body, err := os.ReadFile(path)
				t.Logf("%s (%v):\n%s", path, err, body)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := l.Down(ctx); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(l.Dir()); !os.IsNotExist(err) {
			t.Errorf("after Down the directory %s is still there (%v)", l.Dir(), err)
		}
	})
	return l
}

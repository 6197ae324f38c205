package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"nightporter/config"
)

// The agent gets the file as its flags change it, and its exit code is the daemon's.
func TestAgentFlagsGoBeforeTheFile(t *testing.T) {
	dir := t.TempDir()
	secret, file := filepath.Join(dir, "secret"), filepath.Join(dir, "np.yaml")
	text := "cluster: home\ninterface: eth0\nsecret_file: " + secret + "\nfailover: 300ms\n"
	for path, data := range map[string]string{secret: string(config.NewSecret()), file: text} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got *config.Config
	var out, errs bytes.Buffer
	machine := config.ThisMachine()
	machine.Prefixes = func(string) ([]netip.Prefix, error) {
		return []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}, nil
	}
	sh := &shell{
		machine: machine,
		out:     &out, err: &errs, in: strings.NewReader(""), getenv: func(string) string { return "" },
		runAgent: func(ctx context.Context, c *config.Config, _ string, log *slog.Logger) error {
			got = c
			log.Debug("hello", "node", c.Node)
			return ctx.Err()
		},
	}
	code := run(t.Context(), sh, []string{"agent", "--config", file, "--node", "a", "--data-dir", "/d", "--run-dir", "/r", "--log-level", "debug"})
	if code != 0 || got == nil {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	if got.Node != "a" || got.DataDir != "/d" || got.RunDir != "/r" || got.Socket != "/r/nightporter.sock" || got.LogLevel != "debug" {
		t.Errorf("got %+v", got)
	}
	if s := errs.String(); !strings.Contains(s, "quiet hardware only") || !strings.Contains(s, "msg=hello node=a") {
		t.Errorf("the log is %q", s)
	}
	if code := run(t.Context(), sh, []string{"agent", "--config", file, "--node", "a", "--log-level", "loud"}); code != exitUsage {
		t.Errorf("a log level that is none gives the exit code %d", code)
	}
}

func TestAgentRefusesALogLevelThatIsNone(t *testing.T) {
	sh := &shell{err: &bytes.Buffer{}, getenv: func(string) string { return "" }}
	if _, err := sh.logger("loud"); err == nil || !strings.Contains(err.Error(), "write debug, info, warn or error") {
		t.Errorf("got %v", err)
	}
}

// Under a service manager that stamps the lines itself, the log has no time of its own.
func TestLogHasOneTime(t *testing.T) {
	for _, tc := range []struct {
		stream string
		want   bool
	}{{"", true}, {"8:1234", false}} {
		var errs bytes.Buffer
		sh := &shell{err: &errs, getenv: func(string) string { return tc.stream }}
		log, err := sh.logger("info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("x")
		if got := strings.Contains(errs.String(), "time="); got != tc.want {
			t.Errorf("JOURNAL_STREAM=%q: the line is %q", tc.stream, errs.String())
		}
	}
}

// Every verb tells what it is for, and one that takes arguments or changes something shows how it is used.
func TestEveryVerbHasHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help is %q", c.CommandPath(), c.Short)
		}
		if strings.Contains(c.Use, " ") && c.Example == "" && c.HasParent() {
			t.Errorf("%s takes arguments and has no example", c.CommandPath())
		}
		if c.Example != "" && !strings.Contains(c.Example, "nightporter") {
			t.Errorf("%s: the example does not run nightporter", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(&shell{getenv: func(string) string { return "" }}))
}

// A host that cannot sleep as its file has it is told so before it is ever tried, and the file is fine all the same.
func TestConfigCheckTellsWhatTheHostCannot(t *testing.T) {
	dir := t.TempDir()
	file, secret := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "secret")
	text := "cluster: home\ninterface: eth0\nsecret_file: " + secret + "\npower: sleeps\nsuspend: deep\n"
	for path, data := range map[string]string{secret: string(config.NewSecret()), file: text} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	machine := config.ThisMachine()
	machine.Prefixes = func(string) ([]netip.Prefix, error) {
		return []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}, nil
	}
	machine.HasCommand = func(string) bool { return true }
	machine.Sleeps = func(s config.Suspend) string { return "it cannot " + string(s) }
	var out, errs bytes.Buffer
	sh := &shell{machine: machine, out: &out, err: &errs, in: strings.NewReader(""), getenv: func(string) string { return "" }}
	code := run(t.Context(), sh, []string{"config", "check", "--node", "a", file})
	if said := out.String(); code != 0 || !strings.Contains(said, "note: this host is to sleep (power: sleeps) and stays awake: it cannot deep\n") || !strings.Contains(said, "is fine for node a") {
		t.Errorf("exit code %d: %s%s", code, said, errs.String())
	}
}

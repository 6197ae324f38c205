package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/agent"
	"nightporter/config"
)

// TestStoppedWhileReplaced: who asks for the end of the agent while it makes way for another program gets it, and who asks twice for
// the other program kills nothing.
func TestStoppedWhileReplaced(t *testing.T) {
	parent, stop := context.WithCancel(t.Context())
	defer stop()
	r := &replacement{program: "/bin/true", log: slog.New(slog.DiscardHandler)}
	err := r.run(parent, func(ctx context.Context) error {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for asked := 0; ctx.Err() == nil || asked < 2; asked++ { // again and again: nobody may listen yet
			if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
				return err
			}
			<-tick.C
		}
		if err := context.Cause(ctx); !errors.Is(err, agent.ErrReplaced) {
			t.Errorf("the cause is %v", err)
		}
		r.program = "/nonexistent" // what is started all the same gives an error
		stop()
		return agent.ErrReplaced
	})
	if err != nil {
		t.Errorf("the next program was started: %v", err)
	}
}

// TestARefusalIsTold: to the service manager, whose reload has succeeded already.
func TestARefusalIsTold(t *testing.T) {
	told := make(chan string, 100)
	r := &replacement{program: "/bin/false", log: slog.New(slog.DiscardHandler), tell: func(s string) { told <- s }}
	err := r.run(t.Context(), func(context.Context) error {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case s := <-told:
				if s != "STATUS=The program was not replaced: exit status 1" {
					t.Errorf("told: %q", s)
				}
				return nil
			case <-tick.C:
				if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
					return err
				}
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// TestTheNextProgramIsWhereThisOneWasStarted: behind a symbolic link it may be another file by then.
func TestTheNextProgramIsWhereThisOneWasStarted(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	link := filepath.Join(dir, "nightporter")
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for called, want := range map[string]string{link: link, "nightporter": link, own: own, "/bin/true": own, "nobody-has-this-name": own} {
		if got, err := programFile(called); got != want || err != nil {
			t.Errorf("started as %s the next one is %s, want %s (%v)", called, got, want, err)
		}
	}
}

// TestOnlyTheSamePlaceGoesOn: what is open lies on one interface and is known to the others at one address.
func TestOnlyTheSamePlaceGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nightporter.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const plain = "cluster: home\ninterface: eth0\nsecret_file: /tmp/secret\nnodes:\n  alpha: {address: 192.0.2.1}\n"
	write(plain)
	now, err := config.Load(path, "alpha", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"nothing":                        {"", "", ""},
		"what a reload is for":           {"cluster: home", "cluster: home\nlog_level: debug", ""},
		"what the next one alone judges": {"cluster: home", "cluster: home\nnot_known_yet: 1", ""},
		"another interface":              {"eth0", "br0", "interface was eth0 and is br0, which takes a restart"},
		"another address":                {"192.0.2.1", "192.0.2.2", "address was 192.0.2.1 and is 192.0.2.2, which takes a restart"},
		"another cluster":                {"home", "office", "cluster was home and is office"},
		"another port":                   {"cluster: home", "cluster: home\ngossip_port: 7473", "gossip_port was 7373 and is 7473"},
	} {
		write(strings.Replace(plain, c.from, c.to, 1))
		err := samePlace(now, path, nil)
		if got := fmt.Sprint(err); (c.want == "") != (err == nil) || !strings.Contains(got, c.want) && c.want != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

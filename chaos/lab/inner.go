package lab

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// InnerVerbs are the verbs of `nightporter lab` that a lab calls itself; nobody types them.
func InnerVerbs() []string { return []string{"keep", "supervise", "serve", "suspend-self"} }

// Inner carries out an inner verb; args begin with it. A program that is to be Options.Binary, such as a test, calls it
// with what follows the word "lab".
func Inner(ctx context.Context, args []string, log *slog.Logger) error {
	if len(args) == 0 {
		return fmt.Errorf("an inner verb of the lab is missing: %v", InnerVerbs())
	}
	flags := flag.NewFlagSet("nightporter lab "+args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", "", "the lab's directory")
	detached := flags.Bool("detached", false, "there is no owner to end with")
	outside := flags.String("outside", "", "the machine's own network namespace")
	group := flags.String("cgroup", "", "the lab's control group")
	name := flags.String("name", "", "the host's name")
	port := flags.Int("port", ServerPort, "where to listen")
	talks := flags.Bool("talk", false, "speak from every floating address by the LAN interface")
	readyTo := flags.Int("ready-fd", -1, "where to say that the server listens")
	host := flags.String("host", "", "the host to suspend")
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("nightporter lab %s: %w", args[0], err)
	}
	switch args[0] {
	case "keep":
		return Keep(*dir, *detached, log)
	case "supervise":
		return Supervise(ctx, *dir, *outside, *group, log)
	case "serve":
		if *talks {
			talking := make(chan struct{})
			defer func() { <-talking }()
			go func() { defer close(talking); talk(ctx) }()
		}
		return Serve(ctx, *name, *port, log, func() error { return sayReady(*readyTo) })
	case "suspend-self":
		return SuspendSelf(ctx, *dir, *host)
	}
	return fmt.Errorf("the lab has no inner verb %q", args[0])
}

func sayReady(fd int) error {
	if fd < 0 {
		return nil
	}
	f := os.NewFile(uintptr(fd), "ready")
	defer f.Close()
	if _, err := f.Write([]byte{'\n'}); err != nil {
		return fmt.Errorf("say that the server listens: %w", err)
	}
	return nil
}

// SuspendSelf suspends the host that the calling program runs in and returns after it has resumed: it is what a lab
// host has in the place of `systemctl suspend`.
func SuspendSelf(ctx context.Context, dir, host string) error {
	_, files, err := ask(ctx, filepath.Join(dir, socketName), request{Verb: "suspend-self", Host: host})
	closeAll(files)
	return err
}

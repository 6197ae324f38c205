package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
	"nightporter/config"
)

// The exit codes, as `nightporter help` tells them.
const (
	exitFailed  = 1 // it was tried and did not work, or it was refused
	exitUsage   = 2 // the command line makes no sense
	exitDaemon  = 3 // the daemon cannot be reached
	exitTryThen = 4 // nobody can decide now, or no answer came in time: try again later
)

// patience is how long a verb waits for the daemon's answer unless --timeout says otherwise: a host that wakes is the slowest
// (config.DefaultWakeTimeout), then a hand-over before a suspend.
const patience = config.DefaultWakeTimeout + 10*time.Second

// shell is what a verb gets of the world outside: streams, the environment, and the flags that all verbs share.
type shell struct {
	out, err io.Writer
	in       io.Reader
	version  string
	getenv   func(string) string
	machine  *config.Machine // that a configuration is compared with
	runAgent agentRunner

	socket  string
	output  string
	timeout time.Duration
	started bool // the command line was understood and a verb began
}

// agentRunner runs the daemon until ctx ends and everything is handed over.
type agentRunner func(ctx context.Context, cfg *config.Config, path string, log *slog.Logger) error

// run carries out one command line and gives the exit code.
func run(ctx context.Context, sh *shell, args []string) int {
	root := newRoot(sh)
	strict(root)
	completeNames(sh, root)
	root.SetArgs(args)
	root.SetOut(sh.out)
	root.SetErr(sh.err)
	root.SetIn(sh.in)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if !sh.started {
		err = usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	}
	sh.showError(err)
	return exitCode(err)
}

// usageError marks a command line that makes no sense.
type usageError struct{ error }

// Unwrap implements the errors package's convention.
func (u usageError) Unwrap() error { return u.error }

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[*api.Error](err); ok {
		switch e.Code {
		case api.CodeNotRunning:
			return exitDaemon
		case api.CodePermission:
			return exitDaemon
		case api.CodeNoLeader, api.CodeNoCluster, api.CodeTimeout, api.CodeUnavailable:
			return exitTryThen
		}
	}
	return exitFailed
}

const rootLong = `nightporter keeps services reachable at a stable address while the hosts behind it sleep.

Every host runs "nightporter agent". The other commands ask the agent of this host through its
unix socket; what only the leader can decide is forwarded to it.

Exit codes: 0 done; 1 failed or refused; 2 the command line makes no sense; 3 the daemon of this
host cannot be reached; 4 nobody can decide now (no leader, no answer in time): try again later.`

const rootExample = `  nightporter keygen --out /etc/nightporter/secret    make the cluster's secret, once
  nightporter config check                            test the configuration of this host
  nightporter status                                  who holds what, who sleeps, what is wrong
  nightporter why web                                 why it is there, and what would change that
  nightporter events --follow                         what happens, as it happens
  nightporter doctor                                  what keeps this host from working, and what mends it
  nightporter sleep delta                             hand over what delta holds and suspend it`

func newRoot(sh *shell) *cobra.Command {
	root := &cobra.Command{
		Use:           "nightporter",
		Short:         "A stable address for services whose hosts sleep",
		Long:          rootLong,
		Example:       rootExample,
		Version:       sh.version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			err := sh.checkFlags()
			sh.started = err == nil
			return err
		},
	}
	root.SetVersionTemplate("nightporter {{.Version}}\n") // what everything else answers to --version; the verb knows the daemon's too
	flags := root.PersistentFlags()
	flags.StringVar(&sh.socket, "socket", sh.defaultSocket(), "the daemon's admin socket (default also from $NIGHTPORTER_SOCKET)")
	flags.StringVarP(&sh.output, "output", "o", "text", "text or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	flags.DurationVar(&sh.timeout, "timeout", patience, "how long to wait for the daemon's answer")
	root.AddCommand(verbs(sh)...)
	return root
}

// checkFlags judges the flags that all verbs share.
func (sh *shell) checkFlags() error {
	switch {
	case sh.output != "text" && sh.output != "json":
		return fmt.Errorf("--output is %q; write text or json", sh.output)
	case sh.timeout <= 0:
		return fmt.Errorf("--timeout is %s; write a time above zero, like 30s", sh.timeout)
	case sh.socket == "":
		return fmt.Errorf("--socket is empty; name the daemon's admin socket, usually %s", defaultSocket)
	}
	return nil
}

// verbs lists the commands, one file each.
func verbs(sh *shell) []*cobra.Command {
	return []*cobra.Command{
		setupVerb(sh), agentVerb(sh), keygenVerb(sh), secretVerb(sh), configVerb(sh), versionVerb(sh),
		statusVerb(sh), membersVerb(sh), historyVerb(sh), eventsVerb(sh), whyVerb(sh), wakesVerb(sh), reportVerb(sh), doctorVerb(sh),
		getVerb(sh), applyVerb(sh), deleteVerb(sh), moveVerb(sh), setVerb(sh), drainVerb(sh), undrainVerb(sh),
		sleepVerb(sh), wakeVerb(sh), canaryVerb(sh),
		joinVerb(sh), leaveVerb(sh), forgetVerb(sh), purgeVerb(sh),
		backupVerb(sh), restoreVerb(sh), recoverVerb(sh),
		labCommand(), demoVerb(sh), chaosVerb(sh), manVerb(sh),
	}
}

var defaultSocket = filepath.Join(config.DefaultRunDir, "nightporter.sock")

func (sh *shell) defaultSocket() string {
	if s := sh.getenv("NIGHTPORTER_SOCKET"); s != "" {
		return s
	}
	return defaultSocket
}

// ask lets f talk to the daemon within the time limit.
func (sh *shell) ask(cmd *cobra.Command, f func(context.Context, *api.Client) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), sh.timeout)
	defer cancel()
	return f(ctx, api.NewClient(sh.socket))
}

// showError prints an error as text or, with -o json, as {"code","message","hint"}.
func (sh *shell) showError(err error) {
	e, ok := errors.AsType[*api.Error](err)
	if sh.output == "json" {
		if !ok {
			e = &api.Error{Code: "failed", Message: err.Error()}
			if _, usage := errors.AsType[usageError](err); usage {
				e.Code = "usage"
			}
		}
		out := json.NewEncoder(sh.err)
		out.SetEscapeHTML(false)
		_ = out.Encode(e) // nobody is left to be told that standard error is closed
		return
	}
	if p, found := errors.AsType[*config.Problems](err); found {
		fmt.Fprintln(sh.err, plainLines(p.Error())) // in the form of a compiler, for editors that jump to the place
		return
	}
	if ok && e.Hint != "" {
		fmt.Fprintf(sh.err, "nightporter: %s\n  %s\n", plain(e.Message), plain(e.Hint))
		return
	}
	text := plainLines(err.Error())
	if ok { // the daemon's, which is one line
		text = plain(err.Error())
	}
	fmt.Fprintf(sh.err, "nightporter: %s\n", text)
}

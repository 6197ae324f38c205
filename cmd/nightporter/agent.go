package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/config"
)

// runAgent is the daemon itself.
func runAgent(ctx context.Context, cfg *config.Config, path string, log *slog.Logger) error {
	program, err := programFile(os.Args[0])
	if err != nil {
		return err
	}
	r := &replacement{
		program: program, check: []string{"config", "check", "--node", cfg.Node, path}, log: log,
		stays: func() error { return samePlace(cfg, path, config.ThisMachine()) },
		tell:  func(state string) { _, _ = daemon.SdNotify(false, state) }, // without a service manager nobody is told
	}
	return r.run(ctx, func(ctx context.Context) error { return live(ctx, cfg, log) })
}

// programFile is the path by which this program was started: the next one is found by it, also where it is a symbolic link that leads
// elsewhere by then. Where that path is not this program it is where the kernel says.
func programFile(called string) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program's own file: %w", err)
	}
	path, err := exec.LookPath(called)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return own, nil //nolint:nilerr // the name was made up by whoever started it
	}
	at, err := os.Stat(path)
	running, rerr := os.Stat("/proc/self/exe")
	if err != nil || rerr != nil || !os.SameFile(at, running) {
		return own, nil //nolint:nilerr // another program has this name
	}
	return path, nil
}

func live(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	waits, err := keepQuiet()
	if err != nil {
		log.Debug("the timers stay as exact as they are", "err", err)
	}
	deps, err := agent.System(cfg, version, waits, log)
	if err != nil {
		return err
	}
	return agent.Run(ctx, cfg, deps)
}

func agentVerb(sh *shell) *cobra.Command {
	var path, node, dataDir, runDir, level string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the daemon of this host",
		Long: `Run the daemon of this host until SIGTERM or SIGINT: then it hands over what it holds and ends.

SIGUSR2 (systemctl reload) replaces the running program by the one that its file has by now, which
also reads the configuration anew: what this host holds stays open meanwhile, and nobody else takes it.
A program that does not run, or that refuses the configuration, is not started; nor is one where the
interface, this host's address or a port has changed: that takes a restart.

The log goes to standard error, one line each, in key=value form. The host finds itself in the
configuration by its host name (the part before the first dot, in lower case) or by --node.`,
		Example: `  nightporter agent
  nightporter agent --config ./nightporter.yaml --node alpha --data-dir ./data --run-dir /run/np`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := sh.loadConfig(path, node, false)
			if err != nil {
				return err
			}
			cfg.Place(dataDir, runDir)
			if cmd.Flags().Changed("log-level") {
				cfg.LogLevel = level
			}
			log, err := sh.logger(cfg.LogLevel)
			if err != nil {
				return usageError{err} // the file's level was judged with the file
			}
			for _, note := range cfg.Notes {
				log.Warn(note, "node", cfg.Node)
			}
			return sh.runAgent(cmd.Context(), cfg, path, log)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&path, "config", config.DefaultPath, "the configuration file")
	flags.StringVar(&node, "node", "", "the name of this host (default: its host name)")
	flags.StringVar(&dataDir, "data-dir", "", "where state is kept, instead of the file's data_dir")
	flags.StringVar(&runDir, "run-dir", "", "where socket, lock and lease table are kept, instead of the file's run_dir")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error, instead of the file's log_level")
	return cmd
}

// loadConfig reads the configuration as this host, or the named one, sees it. alone leaves the host itself unread.
func (sh *shell) loadConfig(path, node string, alone bool) (*config.Config, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		text := "there is no such file; name another with --config, or make it with `nightporter setup`, on a further host of a cluster with `nightporter setup --join`"
		return nil, &config.Problems{List: []config.Problem{{File: path, Message: text}}}
	}
	return sh.readConfig(path, node, alone)
}

// readConfig is loadConfig for a verb that has no --config.
func (sh *shell) readConfig(path, node string, alone bool) (*config.Config, error) {
	if node == "" {
		name, err := config.HostNode()
		if err != nil {
			return nil, err
		}
		node = name
	}
	if alone {
		return config.Load(path, node, nil)
	}
	return config.Load(path, node, sh.machine)
}

// logger writes to standard error. The service manager adds the time; elsewhere the line has its own.
func (sh *shell) logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("the log level is %q; write debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	if sh.getenv("JOURNAL_STREAM") != "" {
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(sh.err, opts)), nil
}

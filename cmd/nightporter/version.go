package main

import (
	"context"
	"runtime"

	"github.com/spf13/cobra"

	"nightporter/api"
)

// versions is the answer of `version`: the command's own and, when it can be asked, the daemon's.
type versions struct {
	Command api.Version  `json:"command"`
	Daemon  *api.Version `json:"daemon"` // null = not reached
}

func versionVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Tell the versions of this command and of the running daemon",
		Args:  takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Command: api.Version{Version: sh.version, Go: runtime.Version()}}
			// A daemon that does not run is an answer here, not a failure.
			why := sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				d, err := c.Version(ctx)
				if err == nil {
					v.Daemon = &d
				}
				return err
			})
			return sh.show(v, func(p *page) {
				p.line("nightporter %s (%s)", v.Command.Version, v.Command.Go)
				switch {
				case v.Daemon == nil:
					p.line("daemon: %v", why)
				case v.Daemon.Version != v.Command.Version:
					p.line("daemon %s on %s: another version; restart it after an upgrade", v.Daemon.Version, v.Daemon.Node)
				default:
					p.line("daemon %s on %s", v.Daemon.Version, v.Daemon.Node)
				}
			})
		},
	}
}

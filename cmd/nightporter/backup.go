package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/api"
	"nightporter/config"
)

// backedUp is the answer of `backup --out`.
type backedUp struct {
	File  string `json:"file"`
	Bytes int    `json:"bytes"`
	Index uint64 `json:"index"`
	By    string `json:"by"`
}

func backupVerb(sh *shell) *cobra.Command {
	var out, path, node, dataDir, runDir string
	var offline bool
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Write the cluster's state to a file",
		Long: `Write the replicated state (definitions of services, settings, members, maintenance, history) as the leader has
it to standard output or, with --out, to a new file that only its owner can read. It is one file with a checksum. It
has neither the cluster's secret nor the hosts' keys: keep those apart. With --offline the state is read
from the data directory of this host, whose agent must not run; what was never confirmed may be in it.`,
		Example: `  nightporter backup --out /root/nightporter.backup
  nightporter backup --offline > state.backup`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				if out == "" && sh.output == "json" {
					return usageError{errors.New("the backup itself goes to standard output: name a file with --out for -o json")}
				}
				of, err := takeBackup(ctx, sh, c, offline, func() (*config.Config, error) {
					cfg, err := sh.loadConfig(path, node, true)
					if err == nil {
						cfg.Place(dataDir, runDir)
					}
					return cfg, err
				})
				if err != nil {
					return err
				}
				file, err := agent.WriteBackup(of, sh.version, time.Now().UTC())
				if err != nil {
					return err
				}
				if out == "" {
					_, err := sh.out.Write(file)
					return err
				}
				if err := writeNew(out, file, "choose another name"); err != nil {
					return err
				}
				return sh.show(backedUp{out, len(file), of.Index, of.By}, func(p *page) {
					p.line("wrote %s: the state up to entry %d, as %s has it", out, of.Index, of.By)
				})
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&out, "out", "", "write to this new file instead of standard output")
	flags.BoolVar(&offline, "offline", false, "read this host's data directory; its agent must not run")
	flags.StringVar(&path, "config", config.DefaultPath, "with --offline: the configuration file")
	flags.StringVar(&node, "node", "", "with --offline: the name of this host (default: its host name)")
	flags.StringVar(&dataDir, "data-dir", "", "with --offline: where state is kept, instead of the file's data_dir")
	flags.StringVar(&runDir, "run-dir", "", "with --offline: where the lock is kept, instead of the file's run_dir")
	return cmd
}

func takeBackup(ctx context.Context, sh *shell, c *api.Client, offline bool, load func() (*config.Config, error)) (api.BackupOf, error) {
	if !offline {
		return c.Backup(ctx)
	}
	cfg, err := load()
	if err != nil {
		return api.BackupOf{}, err
	}
	return agent.OfflineBackup(cfg)
}

package main

import (
	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/config"
)

func purgeVerb(sh *shell) *cobra.Command {
	var path, node, dataDir, runDir string
	cmd := &cobra.Command{
		Use:   "purge",
		Short: "Take off this host's network what a dead agent left there",
		Long: `Remove every macvlan, address, rule, route and nftables table that agents made on this host, the seal of
former identities included, which otherwise stays until a reboot. An agent does the same for its own
leftovers when it starts; this is for a host that is to have none any more. Configuration and state
stay. net.ipv4.conf.all.arp_ignore and arp_announce become again what they were before the first agent
of this boot. It refuses while an agent runs.`,
		Example: `  nightporter purge`,
		Args:    takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := sh.loadConfig(path, node, true)
			if err != nil {
				return err
			}
			cfg.Place(dataDir, runDir)
			log, err := sh.logger("warn")
			if err != nil {
				return err
			}
			return agent.Purge(cfg, log)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&path, "config", config.DefaultPath, "the configuration file")
	flags.StringVar(&node, "node", "", "the name of this host (default: its host name)")
	flags.StringVar(&dataDir, "data-dir", "", "where state is kept, instead of the file's data_dir")
	flags.StringVar(&runDir, "run-dir", "", "where the lock is kept, instead of the file's run_dir")
	return cmd
}

package agent

import (
	"errors"
	"fmt"
	"log/slog"

	"nightporter/config"
	"nightporter/identity"
)

// Purge takes off this host's network whatever agents left there, the seal of former identities included. No agent may run:
// it takes the same lock.
func Purge(cfg *config.Config, log *slog.Logger) (err error) {
	disk := newSystemDisk(cfg.DataDir, cfg.RunDir)
	lock, err := disk.Idle()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	host, err := identity.NewHost(cfg.Interface, identity.NFTables, nil, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	if err := host.Purge(); err != nil {
		return fmt.Errorf("cleaning %s: %w", cfg.Interface, err)
	}
	return disk.restoreFormer()
}

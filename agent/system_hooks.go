package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/renameio/v2"

	"nightporter/health"
)

// systemHooks runs this host's own executables, and talks to its systemd.
type systemHooks struct {
	dir     string // of the executables
	kept    string // the file that says what was run
	systemd health.Systemd
}

func (s systemHooks) Run(ctx context.Context, name string, env []string) error {
	return health.Exec(ctx, s.dir, name, env)
}

func (s systemHooks) StartUnit(ctx context.Context, unit string) error {
	return s.systemd.Start(ctx, unit)
}

func (s systemHooks) StopUnit(ctx context.Context, unit string) error {
	return s.systemd.Stop(ctx, unit)
}

// keptHooks is the file. What ran before a boot runs no more.
type keptHooks struct {
	Boot string          `json:"boot"`
	Told json.RawMessage `json:"told"`
}

func (s systemHooks) Load() ([]byte, error) {
	b, err := os.ReadFile(s.kept)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	var k keptHooks
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.kept, err)
	}
	if k.Boot != boot {
		return nil, nil
	}
	return k.Told, nil
}

func (s systemHooks) Save(told []byte) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	b, err := json.Marshal(keptHooks{boot, told})
	if err != nil {
		return fmt.Errorf("writing down which hooks were run: %w", err)
	}
	if err := renameio.WriteFile(s.kept, b, 0o600); err != nil {
		return fmt.Errorf("keeping which hooks were run: %w", err)
	}
	return nil
}

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// estateMost is more than a note about a thousand services has.
const estateMost = 4 << 20

func (d systemDisk) estate() string { return filepath.Join(d.run, "estate.json") }

// Leave writes the note for the next life of this process.
func (d systemDisk) Leave(e Estate) error {
	var err error
	if e.Boot, err = bootID(); err != nil {
		return err
	}
	e.Process = os.Getpid()
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding what is left to the next program: %w", err)
	}
	if err := renameio.WriteFile(d.estate(), raw, 0o600, renameio.WithTempDir(d.run)); err != nil {
		return fmt.Errorf("writing %s: %w", d.estate(), err)
	}
	return nil
}

// inherit reads the note, if it is for this process, and removes it in any case: it counts once.
func (d systemDisk) inherit(log *slog.Logger) *Estate {
	e, err := d.readEstate()
	if rerr := os.Remove(d.estate()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		e, err = nil, rerr
	}
	if err != nil {
		log.Warn("what a former program left open is closed", "err", err)
		return nil
	}
	return e
}

func (d systemDisk) readEstate() (*Estate, error) {
	f, err := os.OpenFile(d.estate(), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) != os.Geteuid() || info.Mode() != 0o600 {
		return nil, fmt.Errorf("%s is not this user's own", d.estate())
	}
	raw, err := io.ReadAll(io.LimitReader(f, estateMost))
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	e := &Estate{}
	if err := json.Unmarshal(raw, e); err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.estate(), err)
	}
	if err := e.check(boot, os.Getpid()); err != nil {
		return nil, fmt.Errorf("%s does not count: %w", d.estate(), err)
	}
	return e, nil
}

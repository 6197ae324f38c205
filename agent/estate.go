package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// estateMost is more than a note about a thousand services has.
const estateMost = 4 << 20

func (d systemDisk) estate() string { return filepath.Join(d.run, "estate.json") }

// life is that of this process.
func (d systemDisk) life() (life, error) {
	l := d.self
	l.Format, l.Process = estateFormat, os.Getpid()
	var err error
	if l.Boot, err = bootID(); err != nil {
		return l, err
	}
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return l, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // the name before it may have anything in it
	if len(fields) < 20 {
		return l, errors.New("/proc/self/stat makes no sense")
	}
	l.Started = fields[19] // starttime, the 22nd of all (proc_pid_stat(5))
	var data syscall.Stat_t
	if err := syscall.Stat(d.data, &data); err != nil {
		return l, fmt.Errorf("looking at the data directory: %w", err)
	}
	l.Data = [2]uint64{uint64(data.Dev), data.Ino}
	return l, nil
}

// Leave writes the note for the next life of this process.
func (d systemDisk) Leave(e Estate) error {
	var err error
	if e.For, err = d.life(); err != nil {
		return err
	}
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
	own, err := d.life()
	if err != nil {
		return nil, err
	}
	e := &Estate{}
	if err := json.Unmarshal(raw, e); err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.estate(), err)
	}
	if e.For != own {
		return nil, fmt.Errorf("%s does not count: it is for %+v, and this is %+v", d.estate(), e.For, own)
	}
	return e, nil
}

package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"nightporter/config"
)

// Plan is what is to be written.
type Plan struct {
	Path   string // of the configuration
	Text   string
	Node   string
	Secret []byte // the contents of the secret file; nil = that which is there, or else a new one
	Force  bool   // replaces what is there, and keeps it beside with .bak
}

// Written is what was done.
type Written struct {
	Config *config.Config
	Secret string   // "made", "taken", "kept"
	Kept   []string // the files that hold what was replaced
}

// Taken is a nil error where Write may write.
func Taken(path string, force bool) error {
	if force {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is a configuration already, %s; --force replaces it and keeps the old one as %s.bak", path, path)
	}
	return nil
}

// Writable is a nil error where this process may write a configuration, and the secret beside it: asked before any question is.
func Writable(path string) error {
	dir := filepath.Dir(path)
	there := dir
	if list := missing(dir); len(list) > 0 {
		there = filepath.Dir(list[0])
	}
	switch err := unix.Access(there, unix.W_OK|unix.X_OK); {
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		return fmt.Errorf("the configuration goes to %s, where this user may not write; run the command as root, with sudo for example", dir)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("the configuration goes to %s, which is on a file system that can only be read; make it writable first, or name another place with --config", dir)
	case err != nil:
		return fmt.Errorf("look at %s, where the configuration goes: %w", there, err)
	}
	return nil
}

// missing are the folders that have to be made for dir, the highest first.
func missing(dir string) (out []string) {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return out
		}
		out = append([]string{dir}, out...)
	}
}

// Write judges the configuration as this host sees it, with its secret in its place, and only then writes it, each file at once and whole. What
// fails leaves everything as it was.
func (p Plan) Write(m *config.Machine) (w Written, err error) {
	if err := Taken(p.Path, p.Force); err != nil {
		return w, err
	}
	sketch, err := config.Parse(p.Path, []byte(p.Text), p.Node, nil)
	if err != nil {
		return w, err
	}
	var made []string
	defer func() {
		if err != nil {
			for _, dir := range slices.Backward(made) {
				_ = os.Remove(dir) // one in which there is something by now stays
			}
		}
	}()
	for _, dir := range []string{filepath.Dir(p.Path), filepath.Dir(sketch.SecretFile)} {
		made = append(made, missing(dir)...)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return w, fmt.Errorf("make the folder of the configuration: %w", err)
		}
	}
	undo, err := p.putSecret(&w, sketch.SecretFile)
	if err != nil {
		return w, err
	}
	if w.Config, err = config.Parse(p.Path, []byte(p.Text), p.Node, m); err == nil {
		err = p.replace(&w, p.Path, []byte(p.Text), 0o644)
	}
	if err != nil {
		return w, errors.Join(err, undo())
	}
	return w, nil
}

// putSecret puts the secret in its place. undo takes it away again.
func (p Plan) putSecret(w *Written, path string) (undo func() error, err error) {
	nothing := func() error { return nil }
	there, err := os.ReadFile(path)
	switch {
	case err == nil && (p.Secret == nil || bytes.Equal(there, p.Secret)):
		if _, err := config.ReadSecrets(path); err != nil {
			return nothing, err
		}
		w.Secret = "kept"
		return nothing, nil
	case err == nil && !p.Force:
		return nothing, fmt.Errorf("this host has another secret already, %s: it belongs to another cluster, or is an old one; --force replaces it and keeps the old one as %s.bak", path, path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nothing, fmt.Errorf("look for a secret: %w", err)
	}
	secret := p.Secret
	w.Secret = "taken"
	if secret == nil {
		secret, w.Secret = config.NewSecret(), "made"
	}
	if err := p.replace(w, path, secret, 0o600); err != nil {
		return nothing, err
	}
	undo = func() error {
		if there != nil {
			return errors.Join(renameio.WriteFile(path, there, 0o600, renameio.IgnoreUmask()), os.Remove(w.Kept[len(w.Kept)-1]))
		}
		return os.Remove(path)
	}
	if _, err := config.ReadSecrets(path); err != nil { // what was given is none
		return nothing, errors.Join(err, undo())
	}
	return undo, nil
}

// free is a name like that one that nothing has: what a first setup replaced outlives the second one.
func free(path string) string {
	name := path
	for n := 2; ; n++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = path + strconv.Itoa(n)
	}
}

// replace writes a file; what was there is kept beside it, under a name that nothing has.
func (p Plan) replace(w *Written, path string, data []byte, mode fs.FileMode) error {
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err == nil {
		bak := free(path + ".bak")
		info, err := os.Stat(path)
		if err == nil {
			err = renameio.WriteFile(bak, old, info.Mode().Perm(), renameio.IgnoreUmask())
		}
		if err != nil {
			return fmt.Errorf("keep the old %s: %w", path, err)
		}
		w.Kept = append(w.Kept, bak)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the old %s: %w", path, err)
	}
	if err := renameio.WriteFile(path, data, mode, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

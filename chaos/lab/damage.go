package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

func (n *node) data() string { return filepath.Join(n.dir(), "data") }

// mayTouchDisk says why not: what a running agent has open must not change under it, since no disk does that.
func (n *node) mayTouchDisk() error {
	switch {
	case n.client:
		return fmt.Errorf("%s is a client and has no data directory", n.name)
	case n.power != PowerOff:
		return fmt.Errorf("%s is %s; switch it off first with `nightporter lab kill %s`", n.name, n.power, n.name)
	}
	return nil
}

// wipe empties the data directory.
func (n *node) wipe() error {
	if err := n.mayTouchDisk(); err != nil {
		return err
	}
	entries, err := os.ReadDir(n.data())
	if err != nil {
		return fmt.Errorf("wipe the data directory of %s: %w", n.name, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(n.data(), e.Name())); err != nil {
			return fmt.Errorf("wipe the data directory of %s: %w", n.name, err)
		}
	}
	return nil
}

// harm damages one file of Raft's store.
func (n *node) harm(seed uint64) (Damage, error) {
	if err := n.mayTouchDisk(); err != nil {
		return Damage{}, err
	}
	files, err := raftFiles(n.data())
	if err != nil {
		return Damage{}, fmt.Errorf("damage the store of %s: %w", n.name, err)
	}
	if len(files) == 0 {
		return Damage{}, fmt.Errorf("%s has no store that could be damaged: no agent has run in it", n.name)
	}
	chance := rand.New(rand.NewPCG(seed, 0))
	d, err := harmFile(n.data(), files[chance.IntN(len(files))], chance)
	if err != nil {
		return Damage{}, fmt.Errorf("damage the store of %s: %w", n.name, err)
	}
	n.log.Info("damaged", "file", d.File, "offset", d.Offset, "length", d.Length, "how", d.How)
	return d, nil
}

// raftFiles lists what Raft keeps, in the order of the names; files that are empty cannot be damaged.
func raftFiles(data string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(filepath.Join(data, "raft"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no agent has run here
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		rel, err := filepath.Rel(data, path)
		found = append(found, rel)
		return err
	})
	return found, err
}

// longestHarm bounds the bytes that are flipped: a sector or less.
const longestHarm = 512

// harmFile flips bits in a few bytes, or cuts the file off.
func harmFile(data, name string, chance *rand.Rand) (Damage, error) {
	path := filepath.Join(data, name)
	info, err := os.Stat(path)
	if err != nil {
		return Damage{}, err
	}
	d := Damage{File: name, Offset: chance.Int64N(info.Size())}
	if chance.IntN(3) == 0 {
		d.How, d.Length = "cut off", info.Size()-d.Offset
		return d, os.Truncate(path, d.Offset)
	}
	d.How, d.Length = "flipped", min(1+chance.Int64N(longestHarm), info.Size()-d.Offset)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return Damage{}, err
	}
	buf := make([]byte, d.Length)
	_, err = f.ReadAt(buf, d.Offset)
	if err == nil {
		for i := range buf {
			buf[i] ^= byte(1 + chance.IntN(255)) // never 0: every byte changes
		}
		_, err = f.WriteAt(buf, d.Offset)
	}
	return d, errors.Join(err, f.Close())
}

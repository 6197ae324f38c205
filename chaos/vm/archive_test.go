//go:build vm

package vm

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// archive packs what is below a directory as the kernel unpacks it at boot (cpio, "new ASCII"). Everything belongs to root. The kernel
// takes several archives one after the other, and what comes later replaces what came before.
func archive(root string) ([]byte, error) {
	var b bytes.Buffer
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode, data := uint32(info.Mode().Perm()), []byte(nil)
		switch {
		case d.IsDir():
			mode = unix.S_IFDIR | 0o755 // whatever the umask here is
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			mode, data = unix.S_IFLNK|0o777, []byte(target)
		default:
			mode |= unix.S_IFREG
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		entry(&b, name, mode, data)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pack %s for the guest: %w", root, err)
	}
	entry(&b, "TRAILER!!!", 0, nil)
	return b.Bytes(), nil
}

// entry adds one file. Inode numbers matter for hard links only, and there are none.
func entry(b *bytes.Buffer, name string, mode uint32, data []byte) {
	fmt.Fprintf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name + "\x00")
	pad(b)
	b.Write(data)
	pad(b)
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}

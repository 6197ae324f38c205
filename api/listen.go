package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// socketMode lets the socket's owner and group in, nobody else.
const socketMode = 0o660

// pathLimit is the longest path of a unix socket: 108 bytes with the final zero (unix(7)). The private name that the
// socket has at first is at most as long as "nightporter.sock" is.
const pathLimit = 107

// Listen opens the admin socket, mode 0660, for the given group ("" = the daemon's own). The socket of a daemon that
// was killed is replaced; that of one that still answers is left alone.
func Listen(path, group string) (net.Listener, error) {
	if len(path) > pathLimit {
		return nil, fmt.Errorf("open the admin socket %s: the path has %d bytes and the kernel takes %d at most; choose a shorter run_dir", path, len(path), pathLimit)
	}
	gid := -1
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, fmt.Errorf("open the admin socket: there is no group %q on this host; correct socket_group: %w", group, err)
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, fmt.Errorf("open the admin socket: group %s has no numeric ID: %w", group, err)
		}
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := listenClosed(path)
	if err != nil {
		return nil, fmt.Errorf("open the admin socket %s; its directory must exist and be writable: %w", path, err)
	}
	if err := errors.Join(os.Chown(path, -1, gid), os.Chmod(path, socketMode)); err != nil {
		return nil, errors.Join(fmt.Errorf("set who may use the admin socket %s: %w", path, err), l.Close())
	}
	return l, nil
}

// listenClosed binds the socket with mode 0600, by way of a private name: between bind and chmod of the real name
// strangers could connect, and changing the umask would change it for the whole process.
func listenClosed(path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(parent(path), ".nps")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	private := dir + "/s"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: private, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(private, 0o600), os.Rename(private, path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &unlinking{Listener: l, path: path}, nil
}

func parent(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i+1]
		}
	}
	return "."
}

// unlinking removes the socket's file when it is closed.
type unlinking struct {
	net.Listener
	path string
}

// Close implements net.Listener.
func (u *unlinking) Close() error {
	err := u.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err // the file is gone since the first time, or is somebody else's by now
	}
	return errors.Join(err, os.Remove(u.path))
}

// removeStale removes a socket at which nobody listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open the admin socket %s: %w", path, err)
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("open the admin socket %s: something that is no socket is there; move it away", path)
	}
	c, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		return errors.Join(fmt.Errorf("open the admin socket %s: another daemon already answers there; stop it first", path), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("open the admin socket %s: look whether another daemon answers there: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the old admin socket %s: %w", path, err)
	}
	return nil
}

package idle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Login is somebody who is logged in.
type Login struct {
	User  string
	Where string // a terminal, a seat, or a session's kind; "" = not known
	From  string // another host; "" = this one
	// Idle says that nothing was typed or clicked for a while, as logind tells; Graphical, that a desktop is what tells logind so.
	Idle, Graphical bool
}

// String says it for people.
func (l Login) String() string {
	s := l.User + " is logged in"
	if l.Where != "" {
		s += " on " + l.Where
	}
	if l.From != "" {
		s += " from " + l.From
	}
	return s
}

// Utmp is where the logins are noted on hosts that have utmp(5).
const Utmp = "/run/utmp"

// An entry of utmp(5), as the C library lays it out on all architectures that have 32-bit times in it, which Linux has everywhere for compatibility.
const (
	utmpSize  = 384
	utmpUser  = 7 // ut_type USER_PROCESS
	atUtmpPID = 4
	atLine    = 8
	lineSize  = 32
	atUser    = 44
	userSize  = 32
	atHost    = 76
	hostSize  = 256
)

// Logins finds who is logged in without logind: the entries of utmp whose process lives, and the sessions of sshd, which are
// told from its other processes by their title ("sshd: jo@pts/0").
func Logins(utmp string) ([]Login, error) {
	out, err := readUtmp(utmp)
	if err != nil {
		return nil, err
	}
	err = eachProcess(func(dir string) {
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil || !bytes.HasPrefix(comm, []byte("sshd")) {
			return
		}
		l, ok := sshSession(arguments(dir))
		if ok && !slices.ContainsFunc(out, func(o Login) bool { return o.User == l.User && o.Where == l.Where }) {
			out = append(out, l)
		}
	})
	return out, err
}

func readUtmp(path string) (out []Login, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading who is logged in: %w", err)
	}
	for ; len(b) >= utmpSize; b = b[utmpSize:] {
		pid := int(int32(binary.NativeEndian.Uint32(b[atUtmpPID:])))
		if binary.NativeEndian.Uint16(b) != utmpUser || pid <= 0 || errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		out = append(out, Login{User: text(b[atUser:][:userSize]), Where: text(b[atLine:][:lineSize]), From: text(b[atHost:][:hostSize])})
	}
	return out, nil
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.ToValidUTF8(string(b), "?")
}

// sshSession reads the title that sshd gives to the process of a session.
func sshSession(title string) (Login, bool) {
	_, rest, ok := strings.Cut(title, "sshd: ")
	if !ok {
		_, rest, ok = strings.Cut(title, "sshd-session: ")
	}
	user, where, at := strings.Cut(rest, "@")
	if !ok || !at || user == "" || strings.ContainsAny(user, " /[") {
		return Login{}, false
	}
	where, _, _ = strings.Cut(where, " ")
	if where == "notty" {
		where = "ssh without a terminal"
	}
	return Login{User: user, Where: where}, true
}

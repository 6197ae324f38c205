package idle

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	load, err := LoadAverage()
	if err != nil || load < 0 || load > 10_000 {
		t.Fatal(load, err)
	}
	for _, c := range []struct {
		load, least float64
		want        string
	}{
		{0.5, 0.5, "the load of the last minute is 0.50; from 0.50 on the host is in use"},
		{0.49, 0.5, ""},
		{99, 0, ""},
	} {
		if r, ok := LoadReason(c.load, c.least); r.Sentence != c.want || ok != (c.want != "") {
			t.Errorf("%v of %v: %+v, %v", c.load, c.least, r, ok)
		}
	}
}

func TestTraffic(t *testing.T) {
	tr := Traffic{Link: "eth0", Least: 100_000}
	for _, c := range []struct {
		at    time.Duration
		bytes uint64
		want  string
	}{
		{0, 1 << 40, ""}, // the first look knows no rate
		{10 * time.Second, 1<<40 + 999_999, ""},
		{20 * time.Second, 1<<40 + 999_999 + 1_000_000, "eth0 carries 100 kB in a second; from 100 kB on the host is in use"},
		{20 * time.Second, 1 << 60, ""},
		{21 * time.Second, 7, ""}, // the card was reset
		{22 * time.Second, 20_000_007, "eth0 carries 20 MB in a second; from 100 kB on the host is in use"},
	} {
		if r, ok := tr.Look(c.at, c.bytes); r.Sentence != c.want || ok != (c.want != "") {
			t.Errorf("at %v: %+v, %v", c.at, r, ok)
		}
	}
}

// The counters of a real link follow what is sent over it.
func TestCarried(t *testing.T) {
	host, client := lan(t)
	carried := func() (n uint64) {
		must(t, host.do(func() (err error) { n, err = Carried("eth0"); return err }))
		return n
	}
	before := carried()
	must(t, client.do(func() error {
		c, err := net.ListenPacket("udp", "10.77.0.101:0")
		if err != nil {
			return err
		}
		defer c.Close()
		for range 10 {
			if _, err := c.WriteTo(make([]byte, 1000), &net.UDPAddr{IP: net.IPv4(10, 77, 0, 200), Port: 9}); err != nil {
				return err
			}
		}
		return nil
	}))
	await(t, "ten datagrams are counted", func() bool { return carried() >= before+10_000 })
	must(t, host.do(func() error {
		if _, err := Carried("eth9"); err == nil {
			t.Error("a link that is not there has counters")
		}
		return nil
	}))
}

// program starts a copy of sleep(1) under another name, with another title.
func program(t *testing.T, name, title string) *exec.Cmd {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	body, err := os.ReadFile(sleep)
	must(t, err)
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, body, 0o755))
	c := exec.Command(path, "1000")
	if title != "" {
		c.Args[0] = title
	}
	must(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

func TestRunning(t *testing.T) {
	own := fmt.Sprint("np", os.Getpid()) // others may run this test at the same time
	names := []string{own + "-backup-of-everything", own + "-no", own + "-rsync"}
	first := program(t, names[0], "")
	program(t, names[2], "")
	var got []string
	await(t, "both run", func() bool {
		var err error
		got, err = Running(names)
		must(t, err)
		return slices.Equal(got, []string{names[0], names[2]})
	})
	must(t, first.Process.Kill())
	_ = first.Wait() // it was killed
	if got, err := Running(names); err != nil || !slices.Equal(got, names[2:]) {
		t.Error(got, err)
	}
	if got, err := Running(nil); got != nil || err != nil {
		t.Error(got, err)
	}
}

// entry is one of utmp(5).
func entry(kind uint16, pid int, line, user, host string) []byte {
	b := make([]byte, utmpSize)
	binary.NativeEndian.PutUint16(b, kind)
	binary.NativeEndian.PutUint32(b[atUtmpPID:], uint32(pid))
	copy(b[atLine:], line)
	copy(b[atUser:], user)
	copy(b[atHost:], host)
	return b
}

// Without logind: utmp as login(1) writes it, without those whose process is gone, and what sshd's processes call themselves.
func TestLogins(t *testing.T) {
	gone := exec.Command("true")
	must(t, gone.Run())
	path := filepath.Join(t.TempDir(), "utmp")
	must(t, os.WriteFile(path, slices.Concat(
		entry(2, 0, "~", "reboot", "6.1"), entry(utmpUser, os.Getpid(), "tty1", "ann", ""),
		entry(utmpUser, os.Getpid(), "pts/0", "jo", "192.0.2.7"), entry(utmpUser, gone.Process.Pid, "pts/1", "zoe", ""), entry(8, os.Getpid(), "pts/3", "eve", ""),
	), 0o644))
	program(t, "sshd", "sshd: jo@pts/0")
	program(t, "sshd", "sshd: kim@notty")
	program(t, "sshd-session", "sshd-session: lee@pts/9")
	program(t, "sshd", "sshd: root [priv]")
	program(t, "other", "sshd: mallory@pts/8")
	want := []string{"ann is logged in on tty1", "jo is logged in on pts/0 from 192.0.2.7", "kim is logged in on ssh without a terminal", "lee is logged in on pts/9"}
	var said []string
	await(t, "they are found: "+strings.Join(want, ", "), func() bool {
		all, err := Logins(path)
		must(t, err)
		said = nil
		for _, l := range all {
			said = append(said, l.String())
		}
		slices.Sort(said)
		said = slices.DeleteFunc(said, func(s string) bool {
			return !slices.Contains(want, s) && !strings.Contains(s, "zoe") && !strings.Contains(s, "mallory") && !strings.Contains(s, "priv")
		})
		return slices.Equal(said, want)
	})
	if all, err := Logins(filepath.Join(t.TempDir(), "absent")); err != nil {
		t.Error(all, err)
	}
	if _, err := Logins(t.TempDir()); err == nil {
		t.Error("a directory is taken for utmp")
	}
}

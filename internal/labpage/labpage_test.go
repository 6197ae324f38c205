package labpage

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func ownNet(t *testing.T) string {
	t.Helper()
	net, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return net
}

// made gives a page in memory that is as a lab's, but for where this process is.
func made(t *testing.T, net string) (*Page, string) {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "labpage-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "page")
	p, err := Create(path, net)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, path
}

func TestNoPageWithoutTheSetting(t *testing.T) {
	if p, err := Open(""); p != nil || err != nil {
		t.Errorf("Open(\"\") = %v, %v", p, err)
	}
}

func TestRefusedOutsideALab(t *testing.T) {
	_, path := made(t, ownNet(t))
	_, foreign := made(t, "net:[1]")
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(filepath.Dir(path), "short")
	text := filepath.Join(filepath.Dir(path), "text")
	writable := filepath.Join(filepath.Dir(path), "writable")
	for name, data := range map[string][]byte{short: body[:200], text: make([]byte, size), writable: body} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(writable, 0o666); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ path, want string }{
		"everything right but the place": {path, "of its own"},
		"another host's":                 {foreign, "another host's"},
		"missing":                        {path + "-not", "no such file"},
		"short":                          {short, "not a lab page"},
		"text":                           {text, "not a lab page"},
		"writable by all":                {writable, "somebody else"},
	} {
		p, err := Open(c.path)
		if err == nil {
			t.Errorf("%s: taken (%v)", what, p)
			continue
		}
		if !strings.Contains(err.Error(), Env) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, want %q in it", what, err, c.want)
		}
	}
}

func TestAPageOnDiskIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	p, err := Create(path, ownNet(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := Open(path); err == nil {
		t.Error("a page was taken outside a lab")
	}
}

func TestValuesComeBack(t *testing.T) {
	p, _ := made(t, "net:[1]")
	if v := p.Load(); v != (Values{}) {
		t.Errorf("a new page says %+v", v)
	}
	want := Values{
		Boot: -time.Hour, Mono: 3 * time.Second, Wall: 24 * time.Hour, DiskDelay: time.Millisecond,
		DiskErrno: syscall.ENOSPC, DiskShare: 0.25,
	}
	p.Store(want)
	if v := p.Load(); v != want {
		t.Errorf("the page says %+v, want %+v", v, want)
	}
}

// A reader never sees half of a change: an agent would take it for a suspend.
func TestChangesAreWhole(t *testing.T) {
	p, _ := made(t, "net:[1]")
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for k := time.Duration(0); ; k++ {
			select {
			case <-stop:
				return
			default:
				p.Store(Values{Boot: k, Mono: k, Wall: k})
			}
		}
	})
	for range 100_000 {
		if v := p.Load(); v.Boot != v.Mono || v.Boot != v.Wall {
			t.Errorf("half of a change: %+v", v)
			break
		}
	}
	close(stop)
	writer.Wait()
}

// A writer that is stopped in the middle of a change, as on a machine with too much to do, leaves what was so before.
func TestAChangeThatDoesNotEnd(t *testing.T) {
	p, _ := made(t, "net:[1]")
	half := func() {
		atomic.AddInt64(p.at(atSeq), 1)
		atomic.StoreInt64(p.at(atBoot), int64(time.Hour))
	}
	half()
	if v := p.Load(); v != (Values{}) {
		t.Errorf("in the middle of the first change the page says %+v", v)
	}
	atomic.AddInt64(p.at(atSeq), 1)
	want := Values{Boot: time.Second, Mono: time.Second}
	p.Store(want)
	p.Load()
	half()
	if v := p.Load(); v != want {
		t.Errorf("in the middle of a change the page says %+v, want %+v", v, want)
	}
	atomic.AddInt64(p.at(atSeq), 1)
	if v := p.Load(); v.Boot != time.Hour {
		t.Errorf("after it the page says %+v", v)
	}
}

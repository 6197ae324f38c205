package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/lease"
)

func someTable(epoch uint64) lease.Table {
	return lease.Table{
		Offset: time.Second, Since: 5, Settled: true,
		Services: []lease.Record{{Service: "web", Highest: epoch, Entry: lease.Entry{Service: "web", Holder: "a", Epoch: epoch, Incarnation: 9, Expires: 77}, Marks: []lease.Mark{{Node: "a", Seq: epoch}}}},
	}
}

// TestMirrorFile: a restart finds what was saved last, or nothing; never an older table.
func TestMirrorFile(t *testing.T) {
	spoil := func(slot, at int64) func(*testing.T, *os.File) {
		return func(t *testing.T, f *os.File) {
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, slot*mirrorSlot+at); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 4
			if _, err := f.WriteAt(b, slot*mirrorSlot+at); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]struct {
		saves int
		spoil func(*testing.T, *os.File)
		found bool
	}{
		"never written":            {0, nil, false},
		"written once":             {1, nil, true},
		"written often":            {7, nil, true},
		"newest body damaged":      {2, spoil(0, mirrorHeader+3), false},
		"newest checksum damaged":  {2, spoil(0, 12), false},
		"newest length damaged":    {2, spoil(0, 9), false},
		"older body damaged":       {2, spoil(1, mirrorHeader+3), true},
		"newest half written":      {2, func(t *testing.T, f *os.File) { spoil(0, mirrorHeader)(t, f); spoil(0, mirrorHeader+9)(t, f) }, false},
		"cut off within the older": {2, func(t *testing.T, f *os.File) { must(t, f.Truncate(mirrorSlot+mirrorHeader+2)) }, true},
		"emptied":                  {2, func(t *testing.T, f *os.File) { must(t, f.Truncate(0)) }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newSystemDisk(t.TempDir(), t.TempDir())
			m, err := d.Mirror()
			must(t, err)
			for n := range tt.saves {
				must(t, m.Save(someTable(uint64(n+1))))
			}
			must(t, m.Close())
			if tt.spoil != nil {
				f, err := os.OpenFile(filepath.Join(d.run, "leases"), os.O_RDWR, 0)
				must(t, err)
				tt.spoil(t, f)
				must(t, f.Close())
			}
			again, err := d.Mirror()
			must(t, err)
			defer again.Close()
			got, found := again.Load()
			if found != tt.found {
				t.Fatalf("found is %v", found)
			}
			want := someTable(uint64(tt.saves))
			want.BootID = got.BootID
			if diff := cmp.Diff(want, got); found && diff != "" {
				t.Error(diff)
			}
			// The next life's table goes before all that is there.
			must(t, again.Save(someTable(99)))
			third, err := d.Mirror()
			must(t, err)
			defer third.Close()
			if got, found := third.Load(); tt.found && (!found || got.Services[0].Highest != 99) {
				t.Errorf("after another save: %v, %v", got, found)
			}
		})
	}
}

// TestMirrorOfAnotherBoot: what was granted before a reboot has run out, and the clock began anew.
func TestMirrorOfAnotherBoot(t *testing.T) {
	d := newSystemDisk(t.TempDir(), t.TempDir())
	m, err := d.Mirror()
	must(t, err)
	m.(*mirror).boot = "another"
	must(t, m.Save(someTable(3)))
	must(t, m.Close())
	again, err := d.Mirror()
	must(t, err)
	defer again.Close()
	if got, found := again.Load(); found {
		t.Errorf("got %+v", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// brittleMirror fails when it is told to.
type brittleMirror struct {
	memoryMirror
	err error
}

func (m *brittleMirror) Save(t lease.Table) error {
	if m.err != nil {
		return m.err
	}
	return m.memoryMirror.Save(t)
}

// voting makes one voter after the other on one mirror, as restarts of the agent do.
func voting(t *testing.T, f func(b func() *ballot, m *brittleMirror, ask func(*ballot, string, uint64) (lease.Answer, bool))) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		journal, err := cluster.NewJournal(raft.NewInmemStore())
		must(t, err)
		m := &brittleMirror{}
		clock := &fakeClock{began: time.Now()}
		machine := foundedMachine(t, log)
		var seq uint64
		f(func() *ballot { return newBallot("c", clock, machine, journal, m, log) }, m, func(b *ballot, node string, epoch uint64) (lease.Answer, bool) {
			seq++
			return b.request(lease.Request{Service: "web", Node: node, Epoch: epoch, Incarnation: 1, Seq: seq, TTL: cluster.Derive(time.Second).TTL})
		})
	})
}

// TestVoterRemembersOverARestart: what it granted still excludes others, and it need not wait.
func TestVoterRemembersOverARestart(t *testing.T) {
	voting(t, func(life func() *ballot, m *brittleMirror, ask func(*ballot, string, uint64) (lease.Answer, bool)) {
		b := life()
		if a, ok := ask(b, "a", 1); !ok || a.Refusal != lease.Amnesia {
			t.Fatalf("a voter that remembers nothing says %+v", a)
		}
		time.Sleep(10 * time.Second)
		if a, ok := ask(b, "a", 1); !ok || a.Refusal != lease.Granted {
			t.Fatalf("got %+v", a)
		}
		b = life()
		if a, ok := ask(b, "b", 2); !ok || a.Refusal != lease.HeldByOther || a.Holder != "a" {
			t.Errorf("after a restart another node gets %+v", a)
		}
		if a, ok := ask(b, "a", 1); !ok || a.Refusal != lease.Granted {
			t.Errorf("after a restart the holder gets %+v", a)
		}
		m.have = false // as after a reboot
		if a, ok := ask(life(), "a", 1); !ok || a.Refusal != lease.Amnesia {
			t.Errorf("after the table was lost the holder gets %+v", a)
		}
	})
}

// TestVoterWithoutMirrorKeepsSilent: it answers nothing that a restart would forget, says so once, and goes on by itself.
func TestVoterWithoutMirrorKeepsSilent(t *testing.T) {
	voting(t, func(life func() *ballot, m *brittleMirror, ask func(*ballot, string, uint64) (lease.Answer, bool)) {
		b := life()
		var said strings.Builder
		b.log = slog.New(slog.NewTextHandler(&said, nil))
		time.Sleep(10 * time.Second)
		m.err = syscall.ENOSPC
		for range 5 {
			if a, ok := ask(b, "a", 1); ok {
				t.Errorf("answered %+v", a)
			}
			if ack, ok := b.release(lease.Release{Service: "web", Node: "b", Epoch: 1, Incarnation: 1, Seq: 1}); ok {
				t.Errorf("acknowledged %+v", ack)
			}
		}
		if !strings.Contains(b.trouble(), "no space left on device") || b.warm() || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("trouble %q, warm %v, log:\n%s", b.trouble(), b.warm(), said.String())
		}
		if asked, ok := b.lastAsked("web", "a"); !ok || asked.granted {
			t.Errorf("the request is remembered as %+v, %v", asked, ok)
		}
		m.err = nil
		if a, ok := ask(b, "a", 1); !ok || a.Refusal != lease.Granted || b.trouble() != "" || !b.warm() {
			t.Errorf("got %+v, trouble %q", a, b.trouble())
		}
	})
}

// TestFormerLivesGiveNoSign: a message that a former life of an agent sent, and that comes late, does not count.
func TestFormerLivesGiveNoSign(t *testing.T) {
	voting(t, func(life func() *ballot, _ *brittleMirror, _ func(*ballot, string, uint64) (lease.Answer, bool)) {
		b := life()
		b.request(lease.Request{Service: "web", Node: "a", Epoch: 5, Incarnation: 9, Seq: 1, TTL: time.Second})
		b.request(lease.Request{Service: "web", Node: "a", Epoch: 4, Incarnation: 8, Seq: 8, TTL: time.Second})
		if got, ok := b.lastAsked("web", "a"); !ok || got.incarnation != 9 || got.epoch != 5 {
			t.Errorf("remembered: %+v, %v", got, ok)
		}
	})
}

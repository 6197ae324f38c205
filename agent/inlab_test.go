package agent

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/identity"
	"nightporter/internal/labpage"
	"nightporter/lease"
)

func newPage(t *testing.T) *labpage.Page {
	t.Helper()
	p, err := labpage.Create(filepath.Join(t.TempDir(), "page"), "net:[1]")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// stillClock always says the same.
type stillClock struct{}

func (stillClock) Boot() lease.Boot                  { return lease.Boot(time.Hour) }
func (stillClock) Both() (lease.Boot, time.Duration) { return lease.Boot(time.Hour), time.Minute }
func (stillClock) Sight() lease.Sight                { return lease.Sight{} }
func (stillClock) Wall() time.Time                   { return time.Unix(1e9, 0) }

func TestClocksInALab(t *testing.T) {
	page := newPage(t)
	c := inLab(Deps{Clock: stillClock{}}, page).Clock
	for _, v := range []labpage.Values{{}, {Boot: time.Second, Mono: -time.Minute, Wall: -time.Hour}} {
		page.Store(v)
		boot, mono := c.Both()
		if boot != c.Boot() || boot != lease.Boot(time.Hour+v.Boot) || mono != time.Minute+v.Mono {
			t.Errorf("%+v: boot %d and %d, mono %v", v, boot, c.Boot(), mono)
		}
		if wall := c.Wall(); !wall.Equal(time.Unix(1e9, 0).Add(v.Wall)) {
			t.Errorf("%+v: wall %v", v, wall)
		}
	}
}

// fenceClock notes the deadlines that reach the kernel.
type fenceClock struct {
	Kernel
	given []time.Duration
}

func (f *fenceClock) Prepare(identity.Spec) (Hold, error)   { return clockedHold{kernel: f}, nil }
func (f *fenceClock) Adopt(identity.Heirloom) (Hold, error) { return clockedHold{kernel: f}, nil }

type clockedHold struct {
	Hold
	kernel *fenceClock
}

func (h clockedHold) Open(d time.Duration, _ uint64) error { return h.Extend(d) }

func (h clockedHold) Extend(d time.Duration) error {
	h.kernel.given = append(h.kernel.given, d)
	return nil
}

// A deadline that is a second away by the agent's clock is a second away by the kernel's.
func TestDeadlinesInALabAreTheKernels(t *testing.T) {
	page, kernel := newPage(t), &fenceClock{}
	deps := inLab(Deps{Clock: stillClock{}, Kernel: kernel}, page)
	prepared, err := deps.Kernel.Prepare(identity.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	adopted, err := deps.Kernel.Adopt(identity.Heirloom{})
	if err != nil {
		t.Fatal(err)
	}
	for i, off := range []time.Duration{0, time.Hour, -time.Minute} {
		page.Store(labpage.Values{Boot: off, Mono: 5 * time.Hour, Wall: 7 * time.Hour})
		deadline := time.Duration(deps.Clock.Boot()) + time.Second
		if err := errors.Join(prepared.Open(deadline, 1), adopted.Extend(deadline)); err != nil {
			t.Fatal(err)
		}
		for _, got := range kernel.given[2*i:] {
			if want := time.Hour + time.Second; got != want {
				t.Errorf("off by %v: the kernel is given %v, want %v", off, got, want)
			}
		}
	}
}

// memoryDisk keeps Raft's stores in memory.
type memoryDisk struct {
	Disk
	store *raft.InmemStore
}

func (d memoryDisk) Stores(c *cluster.RaftConfig) error {
	c.Stores = cluster.Stores{Log: d.store, Stable: d.store}
	return nil
}

func TestTheDiskInALab(t *testing.T) {
	page, store := newPage(t), raft.NewInmemStore()
	var c cluster.RaftConfig
	if err := inLab(Deps{Disk: memoryDisk{store: store}}, page).Disk.Stores(&c); err != nil {
		t.Fatal(err)
	}
	log, stable := c.Stores.Log, c.Stores.Stable
	writes := map[string]func() error{
		"StoreLog":    func() error { return log.StoreLog(&raft.Log{Index: 1}) },
		"StoreLogs":   func() error { return log.StoreLogs([]*raft.Log{{Index: 1}}) },
		"DeleteRange": func() error { return log.DeleteRange(7, 8) },
		"Set":         func() error { return stable.Set([]byte("k"), []byte("v")) },
		"SetUint64":   func() error { return stable.SetUint64([]byte("n"), 7) },
	}
	for name, write := range writes {
		page.Store(labpage.Values{DiskErrno: syscall.ENOSPC, DiskShare: 1})
		if err := write(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s on a full disk: %v", name, err)
		}
	}
	if last, err := log.LastIndex(); last != 0 || err != nil {
		t.Errorf("a write that failed was written: %d, %v", last, err)
	}
	const slow = 5 * time.Millisecond
	page.Store(labpage.Values{DiskDelay: slow, DiskErrno: syscall.EIO})
	for name, write := range writes {
		began := time.Now()
		if err := write(); err != nil {
			t.Errorf("%s on a slow disk: %v", name, err)
		}
		if took := time.Since(began); took < slow {
			t.Errorf("%s took %v on a disk that needs %v longer", name, took, slow)
		}
	}
	if n, err := stable.GetUint64([]byte("n")); n != 7 || err != nil {
		t.Errorf("the number is %d, %v", n, err)
	}
	page.Store(labpage.Values{DiskErrno: syscall.EIO, DiskShare: 0.5})
	failed := 0
	for range 1000 {
		if writes["StoreLog"]() != nil {
			failed++
		}
	}
	if failed < 400 || failed > 600 { // more than six standard deviations
		t.Errorf("%d of 1000 writes failed, want about half", failed)
	}
}

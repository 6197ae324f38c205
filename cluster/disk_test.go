package cluster

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
)

// fullStore is a store on a disk that can be full.
type fullStore struct {
	*raft.InmemStore
	errno atomic.Uintptr // 0: there is room
}

func (f *fullStore) trouble() error {
	if n := f.errno.Load(); n != 0 {
		return syscall.Errno(n)
	}
	return nil
}

func (f *fullStore) StoreLogs(l []*raft.Log) error {
	if err := f.trouble(); err != nil {
		return err
	}
	return f.InmemStore.StoreLogs(l)
}

func (f *fullStore) SetUint64(key []byte, value uint64) error {
	if err := f.trouble(); err != nil {
		return err
	}
	return f.InmemStore.SetUint64(key, value)
}

func TestAFullDiskIsToldUntilAWriteSucceeds(t *testing.T) {
	f := &fullStore{InmemStore: raft.NewInmemStore()}
	d := &disk{quit: make(chan struct{})}
	r := &Raft{disk: d}
	logs := watchedLog{f, d}
	for _, c := range []struct {
		errno syscall.Errno
		says  string
	}{{0, ""}, {syscall.ENOSPC, "free some space"}, {0, ""}, {syscall.EROFS, "mount it read-write"}} {
		f.errno.Store(uintptr(c.errno))
		if err := logs.StoreLogs([]*raft.Log{{Index: 1}}); !errors.Is(err, f.trouble()) {
			t.Errorf("a disk with %v gives %v", f.trouble(), err)
		}
		if said := r.DiskTrouble(); !strings.Contains(said, c.says) || (said == "") != (c.errno == 0) {
			t.Errorf("a disk with %v says %q", f.trouble(), said)
		}
	}
}

// Raft ends the process when it cannot write its term: so it is made to wait, and ends without having gone on.
func TestTheTermWaitsForTheDisk(t *testing.T) {
	for name, c := range map[string]struct {
		key   string
		end   func(f *fullStore, quit chan struct{})
		wants string
	}{
		"room again":      {termKey, func(f *fullStore, _ chan struct{}) { f.errno.Store(0) }, "went on"},
		"shutdown":        {termKey, func(_ *fullStore, quit chan struct{}) { close(quit) }, "ended"},
		"a vote, refused": {"LastVoteTerm", func(*fullStore, chan struct{}) {}, "no space left on device"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				quit := make(chan struct{})
				f := &fullStore{InmemStore: raft.NewInmemStore()}
				f.errno.Store(uintptr(syscall.ENOSPC))
				s := watchedStable{f, &disk{quit: quit}}
				outcome := make(chan string, 1)
				go func() {
					came := "ended"
					defer func() { outcome <- came }()
					err := s.SetUint64([]byte(c.key), 7)
					came = "went on"
					if err != nil {
						came = err.Error()
					}
				}()
				synctest.Wait()
				if c.key == termKey && len(outcome) != 0 {
					t.Errorf("it does not wait: %s", <-outcome)
				}
				c.end(f, quit)
				if got := <-outcome; got != c.wants {
					t.Errorf("%s, want %s", got, c.wants)
				}
			})
		})
	}
}

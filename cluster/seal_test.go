package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// TestSealGivesBackWhatItGot: what is read is what was stored, and what was stored is left alone.
func TestSealGivesBackWhatItGot(t *testing.T) {
	under := raft.NewInmemStore()
	s := sealed{under}
	logs := sampleLog(t)
	logs[0].Extensions = []byte("of somebody else")
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	if string(logs[0].Extensions) != "of somebody else" || logs[1].Extensions != nil {
		t.Error("the entries that were given were changed")
	}
	for _, want := range logs {
		var got raft.Log
		if err := s.GetLog(want.Index, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(*want, got); d != "" {
			t.Error(d)
		}
	}
}

// TestSealSeesEveryBit: each wrong bit of an entry, in whatever part, is noticed.
func TestSealSeesEveryBit(t *testing.T) {
	under := raft.NewInmemStore()
	s := sealed{under}
	logs := sampleLog(t)
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	var good raft.Log
	if err := under.GetLog(2, &good); err != nil {
		t.Fatal(err)
	}
	spoil := func(f func(l *raft.Log)) {
		t.Helper()
		bad := good
		bad.Data, bad.Extensions = append([]byte(nil), good.Data...), append([]byte(nil), good.Extensions...)
		f(&bad)
		if err := under.StoreLog(&bad); err != nil {
			t.Fatal(err)
		}
		var got raft.Log
		if err := s.GetLog(2, &got); !errors.Is(err, errSeal) {
			t.Errorf("not noticed: %v", err)
		}
	}
	for i := range good.Data {
		spoil(func(l *raft.Log) { l.Data[i] ^= 1 << (i % 8) })
	}
	for i := range good.Extensions {
		spoil(func(l *raft.Log) { l.Extensions[i] ^= 1 << (i % 8) })
	}
	spoil(func(l *raft.Log) { l.Term++ })
	spoil(func(l *raft.Log) { l.Type = raft.LogNoop })
	spoil(func(l *raft.Log) { l.Extensions = nil })
	spoil(func(l *raft.Log) { l.Data = nil })
}

// TestOneWrongBitOnDisk: a bit that flips in raft.db, within an entry, keeps the node from starting, with a sentence.
func TestOneWrongBitOnDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStores(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Log.StoreLogs(sampleLog(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, dbFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(raw), `"owner":"a"`)
	if at < 0 {
		t.Fatal("the entry is not in the file as text")
	}
	raw[at+len(`"owner":"`)] ^= 2 // now it says c
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStores(dir); err == nil || !strings.Contains(err.Error(), "checksum") || !strings.Contains(err.Error(), "nightporter forget") {
		t.Fatalf("got %v", err)
	}
}

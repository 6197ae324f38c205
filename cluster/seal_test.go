package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
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

// TestSealedVote: term and vote come back as they were, each wrong bit of them is noticed, and so is one that is missing.
func TestSealedVote(t *testing.T) {
	dir := t.TempDir()
	with := func(f func(s Stores)) error {
		t.Helper()
		s, err := OpenStores(dir)
		if err != nil {
			return err
		}
		f(s)
		return s.Close()
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const vote, candidate = "LastVoteTerm", "LastVoteCand"
	must(with(func(s Stores) {
		if _, err := s.Stable.GetUint64([]byte(termKey)); err == nil || err.Error() != "not found" { // what Raft compares with
			t.Errorf("nothing was stored: %v", err)
		}
		must(s.Log.StoreLogs(sampleLog(t)))
		must(s.Stable.SetUint64([]byte(termKey), 7))
		must(s.Stable.SetUint64([]byte(vote), 7))
		must(s.Stable.Set([]byte(candidate), []byte("h2")))
	}))
	must(with(func(s Stores) {
		for _, key := range []string{termKey, vote} {
			if v, err := s.Stable.GetUint64([]byte(key)); v != 7 || err != nil {
				t.Errorf("%s: %d, %v", key, v, err)
			}
		}
		if v, err := s.Stable.Get([]byte(candidate)); string(v) != "h2" || err != nil {
			t.Errorf("%s: %q, %v", candidate, v, err)
		}
	}))
	raw := func(f func(b *bbolt.Bucket)) {
		t.Helper()
		db, err := bbolt.Open(filepath.Join(dir, dbFile), 0o600, nil)
		must(err)
		must(db.Update(func(tx *bbolt.Tx) error { f(tx.Bucket([]byte("conf"))); return nil }))
		must(db.Close())
	}
	refused := func(what string) {
		t.Helper()
		if err := with(func(Stores) {}); err == nil || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, key := range []string{termKey, vote, candidate} {
		var good []byte
		raw(func(b *bbolt.Bucket) { good = bytes.Clone(b.Get([]byte(key))) })
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			raw(func(b *bbolt.Bucket) { must(b.Put([]byte(key), bad)) })
			refused(fmt.Sprintf("bit %d of byte %d of %s", i%8, i, key))
		}
		raw(func(b *bbolt.Bucket) { must(b.Put([]byte(key), good)) })
		if key == candidate {
			continue // a crash between the two writes leaves none
		}
		raw(func(b *bbolt.Bucket) { must(b.Delete([]byte(key))) })
		refused("no " + key)
		raw(func(b *bbolt.Bucket) { must(b.Put([]byte(key), good)) })
	}
	must(with(func(Stores) {}))
}

package lab_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"nightporter/chaos/lab"
)

func TestWipeAndDamage(t *testing.T) {
	l := up(t, lab.Options{Hosts: 2, NoAgent: true})
	ctx := limit(t)
	data := filepath.Join(l.Host("h1").Dir(), "data")
	untouchable(t, l)
	files := map[string][]byte{
		"raft/raft.db": bytes.Repeat([]byte("db"), 5000), "raft/snapshots/1-2-3/state.bin": []byte("a state"),
		"raft/snapshots/1-2-3/meta.json": []byte("{}"), "node.key": []byte("a key"), "raft/empty": nil,
	}
	lay := func() {
		for name, body := range files {
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(data, name)), 0o700))
			must(t, os.WriteFile(filepath.Join(data, name), body, 0o600))
		}
	}
	seen := map[string]bool{}
	for seed := range uint64(40) {
		lay()
		d, err := l.Damage(ctx, "h1", seed)
		must(t, err)
		lay()
		again, err := l.Damage(ctx, "h1", seed)
		must(t, err)
		if d != again {
			t.Errorf("seed %d did %+v and then %+v", seed, d, again)
		}
		seen[d.File], seen[d.How] = true, true
		for name, body := range files {
			now, err := os.ReadFile(filepath.Join(data, name))
			must(t, err)
			if name != d.File {
				if !bytes.Equal(now, body) {
					t.Errorf("seed %d: %+v, but %s has changed", seed, d, name)
				}
				continue
			}
			harmed(t, d, body, now)
		}
	}
	if len(seen) != 5 {
		t.Errorf("40 seeds have done nothing but %v", seen)
	}
	must(t, l.Wipe(ctx, "h1"))
	left, err := os.ReadDir(data)
	if err != nil || len(left) != 0 {
		t.Errorf("after the wipe there are %v (%v)", left, err)
	}
	must(t, l.Host("h1").Start(ctx))
}

// untouchable tries what a disk cannot suffer now, and switches h1 off.
func untouchable(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx := limit(t)
	if err := l.Wipe(ctx, "h1"); err == nil {
		t.Error("a host that is up was wiped")
	}
	if _, err := l.Damage(ctx, "h1", 1); err == nil {
		t.Error("a host that is up was damaged")
	}
	if err := l.Wipe(ctx, "c1"); err == nil {
		t.Error("a client was wiped")
	}
	_, err := l.Host("h1").Kill(ctx)
	must(t, err)
	if _, err := l.Damage(ctx, "h1", 1); err == nil {
		t.Error("nothing was damaged")
	}
}

func harmed(t *testing.T, d lab.Damage, was, now []byte) {
	t.Helper()
	end := d.Offset + d.Length
	if d.How == "cut off" {
		if !bytes.Equal(now, was[:d.Offset]) || end != int64(len(was)) {
			t.Errorf("%+v: %d of %d bytes are left", d, len(now), len(was))
		}
		return
	}
	for i := range was {
		if inside := int64(i) >= d.Offset && int64(i) < end; inside == (was[i] == now[i]) {
			t.Fatalf("%+v: byte %d was %x and is %x", d, i, was[i], now[i])
		}
	}
}

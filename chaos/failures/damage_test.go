package failures

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
)

// damage spoils the Raft state of a member, a voter, in every way; its agent does not start on it and says what to do. With
// the state as it was, or after doing what the sentence says, the host is a member again.
func (w *world) damage(host string, all []string) {
	w.Helper()
	other := others(all, host)[0]
	st, err := w.ask(other)
	w.must(err)
	if !slices.Contains(st.Quorum.Voters, host) {
		w.Fatalf("%s does not vote, the voters are %v", host, st.Quorum.Voters)
	}
	data := filepath.Join(w.lab.Host(host).Dir(), "data")
	db := filepath.Join(data, "raft", "raft.db")
	w.stop(host)
	sound, err := os.ReadFile(db)
	w.must(err)
	noise := func(from, to int) []byte {
		return slices.Concat(sound[:from], bytes.Repeat([]byte{0xa5}, to-from), sound[to:])
	}
	page := os.Getpagesize()
	for what, body := range map[string][]byte{
		"noise at the beginning": noise(0, 2*page),
		"noise in the middle":    noise(2*page, len(sound)),
		"cut off":                sound[:2*page],
		"empty":                  nil,
		"text":                   []byte("this was a database"),
	} {
		w.Logf("raft.db: %s", what)
		w.must(os.WriteFile(db, body, 0o600))
		w.refusesToStart(host, db, "is damaged", "put the data directory away", "run `nightporter forget` for this node on another one", "start it again with an empty one")
	}
	w.must(os.Remove(db))
	w.refusesToStart(host, db, "missing", "put the data directory away", "nightporter forget")
	if used := w.wire.lastOf(host); used.Frame != nil {
		w.Errorf("%s was never given the identity and used it: %x", host, used.Frame)
	}

	w.must(os.WriteFile(db, sound, 0o600))
	w.start(host)
	w.whole(all)

	// What the sentence says, word by word.
	w.stop(host)
	w.must(os.WriteFile(db, noise(0, 2*page), 0o600))
	w.refusesToStart(host, "is damaged")
	w.must(os.Rename(data, data+"-away"))
	w.await(host+" is missed and forgotten", func() string {
		if out, err := w.lab.Host(other).Output(w.limit(), "nightporter", "forget", host); err != nil {
			return out + err.Error()
		}
		return ""
	})
	w.start(host)
	w.whole(all)
	w.served("")
}

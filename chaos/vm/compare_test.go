//go:build vm

package vm

import (
	"strings"
	"testing"
)

// What the tutorial shows is compared in earnest: another word, another line, or one more is noticed; other times, numbers, breaks and spaces are not.
func TestAnAnswerIsCompared(t *testing.T) {
	const page = `cluster home, seen from pi (v0.2) at 2026-11-22 07:21:49 UTC
nothing is wrong; leader desk; 3 of 3 voters awake (2 needed); failover 1s; the
log is current (entry 9)
...
SERVICE  HOLDER      SINCE     WHY          EPOCH  LEASE    FENCE
files    nas serves  07:21:45  first-owner  1      granted  open

NODE  STATE  SINCE     WHY          VOTE    SEEN  WAKES
desk  awake  07:21:44  node-joined  leader  now   -
nas   awake  07:21:44  node-joined  voter   now   untested
pi    awake  07:21:44  node-joined  voter   now   -`
	const answer = `cluster home, seen from pi (0~gf5c88f5) at 2027-01-02 17:21:49 UTC
nothing is wrong; leader pi; 3 of 3 voters awake (2 needed); failover 10s;
the log is current (entry 19)

SERVICE  HOLDER      SINCE     WHY          EPOCH  LEASE    FENCE
files    nas serves  17:21:45  first-owner  21     granted  open

NODE  STATE  SINCE     WHY          VOTE    SEEN  WAKES
desk  awake  17:21:44  node-joined  voter   now   -
nas   awake  17:21:44  node-joined  voter   now   untested
pi    awake  17:21:44  node-joined  leader  now   -`
	for _, c := range []struct {
		name, page, answer string
		same               bool
	}{
		{"the same", page, answer, true},
		{"a hash of a commit", page, strings.ReplaceAll(answer, "0~gf5c88f5", "6ebb97b-dirty"), true},
		{"another state", page, strings.Replace(answer, "serves", "silent", 1), false},
		{"a problem", page, strings.Replace(answer, "nothing", "! node desk is not in touch\nnothing", 1), false},
		{"one more host", page, answer + "\nattic  awake  17:21:44  node-joined  voter  now  -", false},
		{"one less", page, answer[:strings.LastIndex(answer, "\n")], false},
		{"nothing is answered", page, "", false},
		{"cut", "...\nb 2s\n...", "a\nb 1.5ms\nc", true},
		{"cut at the front only", "...\nb 2s", "a\nb 1.5ms\nc", false},
		{"cut within a line", "...\nb ... 2s c", "a\nb 1 x y 3s c", true},
		{"cut within a line that ends otherwise", "b ... 2s c", "b 1 x y 3s d", false},
		{"all cut", "...", "", true},
		{"durations", "back after 6.1s, 2m, 1m8.1s", "back after 80ms, 1h2m3s, 4s", true},
	} {
		if l := missing(strings.Split(c.page, "\n"), c.answer); (l == "") != c.same {
			t.Errorf("%s: %q is missing", c.name, l)
		}
	}
}

// A window in which the story is told has its parts in their order.
func TestAWindowIsWatched(t *testing.T) {
	for text, want := range map[string]string{
		"files nas serves\nfiles pi holds\nnas asleep\nfiles nas serves": "",
		"files nas serves\nfiles pi holds\nnas asleep":                   "nas serves",
		"files pi holds\nnas asleep\nfiles nas serves":                   " holds",
		"files nas serves\nnas asleep":                                   " holds",
	} {
		if got := unseen(text); got != want {
			t.Errorf("%q: %q is not seen, want %q", text, got, want)
		}
	}
}

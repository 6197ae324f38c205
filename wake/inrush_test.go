package wake

import (
	"testing"
	"time"
)

func TestTheLine(t *testing.T) {
	var l Line
	join := func(id, node string, sleeps uint64, from time.Duration, want string) {
		t.Helper()
		if got, ok := l.Join(from/2, Wake{ID: id, Node: node, Sleeps: sleeps}, from); !ok || got.ID != want {
			t.Errorf("%s for %s stands as %s", id, node, got.ID)
		}
	}
	next := func(now time.Duration, free bool, want string, wait time.Duration) {
		t.Helper()
		w, ok, d := l.Next(now, free)
		if w.ID != want || ok != (want != "") || d != wait {
			t.Errorf("at %s the next is %q after %s, want %q after %s", now, w.ID, d, want, wait)
		}
	}
	const s = time.Second
	next(0, true, "", Never)
	join("1", "a", 1, 5*s, "1") // has to sleep on
	join("2", "b", 1, 0, "2")
	join("3", "c", 1, 0, "3")
	join("4", "b", 1, 0, "2") // another client
	if !l.Due(0) {
		t.Error("nobody is due")
	}
	next(0, false, "", 5*s)
	next(0, true, "2", 0)
	next(6*s, true, "1", 0) // he kept his place
	join("5", "c", 2, 9*s, "3")
	next(8*s, true, "", s) // c was awake meanwhile, and has to sleep on
	if left := l.Leave(10*s, func(_ Wake, silent time.Duration) bool { return silent > 5500*ms }); len(left) != 0 {
		t.Errorf("%+v left, and were heard at 4.5 s", left)
	}
	if left := l.Leave(10*s, func(_ Wake, silent time.Duration) bool { return silent >= 5500*ms }); len(left) != 1 || left[0].ID != "3" || left[0].Sleeps != 2 || l.Len() != 0 {
		t.Errorf("%+v left", left)
	}
	for i := range lineMost {
		l.Join(0, Wake{ID: "x", Node: string(rune('a' + i))}, 0)
	}
	if _, ok := l.Join(0, Wake{Node: "one more"}, 0); ok || l.Len() != lineMost {
		t.Error("the line is not bounded")
	}
}

// TestWhoIsStarting: all that are called count, for as long as their start may take, whoever calls them.
func TestWhoIsStarting(t *testing.T) {
	b := NewBoard(0, 0)
	starting := func(now time.Duration, want int, until time.Duration) {
		t.Helper()
		if n, wait := b.Starting(now); n != want || wait != until {
			t.Errorf("at %s %d are starting, and the first is up in %s", now, n, wait)
		}
	}
	starting(0, 0, Never)
	b.Begin(0, Wake{ID: "1", Node: "a", Service: "web"})
	b.Help(2*time.Second, Wake{ID: "2", Node: "b", Service: "db"})
	starting(3*time.Second, 2, InrushHold-3*time.Second)
	if !b.Calls("a", 0) || b.Calls("a", 1) || b.Calls("c", 0) || !b.CallsFor("db") || b.CallsFor("mail") {
		t.Error("who is called for what is not known")
	}
	b.End("a")
	starting(4*time.Second, 1, InrushHold-2*time.Second)
	starting(2*time.Second+InrushHold, 0, Never) // it does not answer: it draws nothing, or all that it will
}

package lab

import (
	"errors"
	"testing"
	"testing/synctest"
)

// A backlog keeps the order, has whoever is ahead wait when it is full, and lets both go at the end.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := newBacklog(), make(chan struct{})
		big := make([]byte, backlogMost/4)
		const all = 20
		refused := make(chan bool, 1)
		go func() {
			for i := range all {
				if !b.put(taken{Frame{Data: big}, i}, stop) {
					t.Error("one was not taken though nobody stopped")
				}
			}
		}()
		synctest.Wait()
		if n := len(b.waiting); n != 4 {
			t.Errorf("%d wait when it is full, want 4", n)
		}
		for next := 0; next < all; {
			some, err := b.take(stop)
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range some {
				if one.index != next {
					t.Fatalf("got frame %d, want %d", one.index, next)
				}
				next++
			}
		}
		synctest.Wait()
		for range 4 {
			b.put(taken{Frame{Data: big}, 0}, stop)
		}
		go func() { refused <- b.put(taken{}, stop) }()
		synctest.Wait()
		close(stop)
		if <-refused {
			t.Error("one was taken though there is no room")
		}
		if some, err := b.take(stop); some != nil || err != nil {
			t.Errorf("after the end it gives %v, %v", some, err)
		}
	})
}

// A watch that ends by itself is told of, when what it had taken before was given.
func TestBacklogOver(t *testing.T) {
	b, stop := newBacklog(), make(chan struct{})
	b.put(taken{index: 7}, stop)
	why := errors.New("no device")
	b.end(why)
	if some, err := b.take(stop); err != nil || len(some) != 1 || some[0].index != 7 {
		t.Errorf("first %v, %v", some, err)
	}
	if some, err := b.take(stop); some != nil || !errors.Is(err, why) {
		t.Errorf("then %v, %v", some, err)
	}
}

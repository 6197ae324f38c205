package main

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestProcessors: more of them from the first wait on, until none has been under way for a while.
func TestProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var set []int
		p := newProcessors(1)
		p.set = func(n int) { set = append(set, n) }
		want := func(n ...int) {
			t.Helper()
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			if !slices.Equal(set, n) {
				t.Errorf("%v, want %v", set, n)
			}
		}
		one := p.wait()
		two := p.wait()
		want(manyProcessors)
		one()
		time.Sleep(2 * calmAfter)
		want(manyProcessors)
		two()
		time.Sleep(calmAfter / 2)
		three := p.wait()
		time.Sleep(2 * calmAfter)
		want(manyProcessors)
		three()
		time.Sleep(calmAfter + time.Millisecond)
		want(manyProcessors, 1)
		p.wait()()
		want(manyProcessors, 1, manyProcessors)
		time.Sleep(calmAfter + time.Millisecond)
		want(manyProcessors, 1, manyProcessors, 1)
	})
}

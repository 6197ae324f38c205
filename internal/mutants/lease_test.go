package main

import (
	"testing"
	"time"
)

// What the lease search tells of its stories: how many passed, and the first that broke something.
func TestStoriesTold(t *testing.T) {
	broken := "=== RUN   X\n    search_test.go:363: seed 1368: I1: a (epoch 29) and c (epoch 30) are open at 40.6s\n--- FAIL: X (0.71s)\n"
	passed, r := storiesTold([]byte(broken))
	if passed != 1368 || r == nil || r.seed != 1368 || len(r.verdicts) != 1 || r.verdicts[0].Keeps != "I1" {
		t.Errorf("of a broken one: %d, %+v", passed, r)
	}
	good := "    search_test.go:375: 20000 stories of 400 steps in 10.9s: 19483 opened, 18843 beyond epoch 1\nPASS\n"
	if passed, r := storiesTold([]byte(good)); passed != 20000 || r != nil {
		t.Errorf("of good ones: %d, %+v", passed, r)
	}
	if passed, r := storiesTold([]byte("testing: warning: no tests to run\nPASS\n")); passed != 0 || r != nil {
		t.Errorf("of nothing: %d, %+v", passed, r)
	}
}

// A mistake that no story sees is listed as such; what else is told is no mistake.
func TestFlawsTold(t *testing.T) {
	got := flawsTold([]byte(`=== RUN   TestSearchHasTeeth/rule_3_is_missing
    teeth_test.go:26: rule 3 is missing | 108 stories, 47ms: I9: c opened under epoch 5 after epoch 6 was on the wire
    teeth_test.go:33: rule 3 is missing | seen by 502 of 20000 stories
    teeth_test.go:33: no margin under drift | seen by 0 of 20000 stories
    teeth_test.go:35: seen by fewer than 10 stories
`))
	want := []flaw{{name: "rule 3 is missing", breaks: "I9", stories: 108, took: 47 * time.Millisecond}, {name: "no margin under drift"}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v", got)
	}
}

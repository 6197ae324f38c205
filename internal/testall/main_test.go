package main

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

const events = `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: needs CAP_NET_ADMIN\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB","Elapsed":0}
{"Action":"pass","Package":"p","Elapsed":1.5}
{"Action":"skip","Package":"no/tests","Elapsed":0}
`

const failing = `{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:9: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestC","Elapsed":0.1}
this is no event
`

// Every package is tested once, and who must run alone does.
func TestTurns(t *testing.T) {
	got := turns([]string{"p", "p/a", "p/chaos/run", "p/chaos/runner"})
	if want := [][]string{{"p/chaos/run"}, {"p", "p/a", "p/chaos/runner"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("they run as %v, want %v", got, want)
	}
}

func TestVerdicts(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		err      error
		ci       bool
		code     int
		want     []string
	}{
		{"something skipped", events, nil, false, 0, []string{"ok    p  1.5s", "Could not run on this machine (1):\n  p TestB: b_test.go:3: needs CAP_NET_ADMIN\n", "\n1 passed, 0 failed, 1 skipped\n"}},
		{"the same in CI", events, nil, true, 1, []string{"That is an error here, because CI=true."}},
		{"a failure", events + failing, errors.New("exit status 1"), false, 1, []string{"FAIL  p TestC\n    c_test.go:9: wrong\n", "Failed:\n  p TestC\n", "this is no event", "1 passed, 1 failed, 1 skipped"}},
		{"it did not build", events, errors.New("exit status 2"), false, 1, []string{"go test: exit status 2"}},
		{"nothing", "", nil, false, 1, []string{"No test ran."}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			sum := &tally{output: map[string][]string{}}
			if err := sum.read(strings.NewReader(tc.in), &out); err != nil {
				t.Fatal(err)
			}
			if code := sum.verdict(&out, tc.err, tc.ci); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			for _, w := range tc.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is missing in:\n%s", w, out.String())
				}
			}
		})
	}
}

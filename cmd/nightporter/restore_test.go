package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nightporter/agent"
	"nightporter/api"
)

// restorer is a fakeAgent that notes what is changed, and of which the change with the number failing fails.
type restorer struct {
	*fakeAgent
	judged  *api.RestoreQuery
	refusal error
	left    []api.Undrained
	done    []string
	failing int
	failure error
}

func (r *restorer) note(what string) error {
	if len(r.done)+1 == r.failing {
		r.failing = 0
		return r.failure
	}
	r.done = append(r.done, what)
	return nil
}

func (r *restorer) Restorable(_ context.Context, q api.RestoreQuery) (api.Restorable, error) {
	r.judged = &q
	return api.Restorable{Lift: true, Undrained: r.left}, r.refusal
}

func (r *restorer) LiftEpochs(_ context.Context, e api.Epochs) error {
	return r.note(fmt.Sprintf("lift above %d of %s", e.Highest, e.Cluster[:4]))
}

func (r *restorer) Delete(_ context.Context, s string) error { return r.note("delete " + s) }

func (r *restorer) Apply(_ context.Context, list []api.Service) (api.Applied, error) {
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	return api.Applied{}, r.note("apply " + strings.Join(names, ","))
}

func (r *restorer) Set(_ context.Context, s api.Settings) error {
	return r.note(fmt.Sprintf("set %g %d", float64(s.Failover)/1e9, s.Inrush))
}

func (r *restorer) Drain(_ context.Context, q api.DrainQuery) (api.Drained, error) {
	return api.Drained{}, r.note("drain " + q.Node)
}

// A restore with --prune: mail is to get the address that old has, and spare is in nobody's way.
func restoring(t *testing.T, r *restorer, words ...string) (code int, out, errs string) {
	t.Helper()
	service := func(name, addr string) api.Service {
		return api.Service{Name: name, Addresses: []netip.Addr{netip.MustParseAddr(addr)}, Mode: "mac", MAC: api.MAC{2, 0, 0, 0, 9, name[0]}, Targets: []string{"delta"}, Hold: "drop"}
	}
	r.services = append(r.services, service("old", "192.0.2.201"), service("spare", "192.0.2.202"))
	const state = `{"cluster":{"id":"` + savedCluster + `","name":"home","created":"2026-01-02T03:04:05Z"},` +
		`"timing":{"failover":2000000000,"largest":2000000000,"changed":"2026-01-02T03:04:05Z"},"inrush":3,` +
		`"services":{"mail":{"name":"mail","addresses":["192.0.2.201"],"mac":"02:00:00:00:00:03","ports":[{"protocol":"tcp","number":25}],"targets":["delta"],"hold":"drop"},` +
		`"web":{"name":"web","addresses":["192.0.2.200"],"mac":"02:00:00:00:00:01","ports":[{"protocol":"tcp","number":8080}],"targets":["delta"],"hold":"drop"}},` +
		`"ownerships":{"gone":{"owner":"","epoch":41,"reason":"service-deleted","since":"2026-01-02T03:04:05Z","by":""}},"nodes":{},"history":{},"wakes":[],` +
		`"drains":{"alpha":{"since":"2026-01-02T03:04:05Z","by":"bravo","text":"new disk"}}}`
	file, err := agent.WriteBackup(api.BackupOf{State: append([]byte("NPS\x02"), state...), Index: 7, By: "alpha"}, "v1", since)
	if err != nil {
		t.Fatal(err)
	}
	path, socket := filepath.Join(t.TempDir(), "state"), shortSocket(t)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	defer serveStory(t, socket, r)()
	var o, e bytes.Buffer
	code = run(t.Context(), &shell{out: &o, err: &e, in: strings.NewReader(""), getenv: func(string) string { return "" }}, append([]string{"--socket", socket, "restore", "--prune", path}, words...))
	return code, o.String(), e.String()
}

var restoredInOrder = []string{
	"lift above 41 of 0001", "delete old", "apply mail", "apply web", "set 2 0", "set 0 3", "drain alpha", "delete spare",
}

// What is in the way goes first, what is not goes last; all is judged before, in the same order.
func TestARestoreDeletesLast(t *testing.T) {
	r := &restorer{fakeAgent: newFake()}
	code, out, errs := restoring(t, r)
	if code != 0 || !slices.Equal(r.done, restoredInOrder) {
		t.Errorf("exit code %d, %s: done %q", code, errs, r.done)
	}
	want := "service mail was created\nservice web was changed\nservice old was deleted\nservice spare was deleted\nevery epoch was lifted above those in the backup\n" +
		"failover was set to 2s\nwake-inrush was set to 3\nalpha was drained\n"
	if out != want {
		t.Errorf("it says %q", out)
	}
	var names []string
	for _, s := range r.judged.Services {
		names = append(names, s.Name)
	}
	if q := r.judged; q.Epochs != (api.Epochs{Cluster: savedCluster, Highest: 41}) || !slices.Equal(q.Delete, []string{"old"}) || !slices.Equal(names, []string{"mail", "web"}) ||
		q.Settings.Inrush != 3 || len(q.Drain) != 1 || q.Drain[0].Text != "new disk" {
		t.Errorf("judged is %+v", q)
	}
}

// A refusal that can be foreseen comes before any change.
func TestARestoreThatWouldBeRefusedChangesNothing(t *testing.T) {
	r := &restorer{fakeAgent: newFake(), refusal: api.Refused("cannot restore: no", "nothing was changed")}
	if code, _, errs := restoring(t, r); code != 1 || len(r.done) > 0 || errs != "nightporter: cannot restore: no\n  nothing was changed\n" {
		t.Errorf("exit code %d, %q, done %q", code, errs, r.done)
	}
}

// With --diff it is told with what would change.
func TestARestoreThatWouldBeRefusedTellsWhatDiffers(t *testing.T) {
	r := &restorer{fakeAgent: newFake(), refusal: api.Refused("cannot restore: no", "nothing was changed")}
	code, out, errs := restoring(t, r, "--diff")
	if code != 0 || errs != "" || len(r.done) > 0 || !strings.HasPrefix(out, "service mail would be created\n") || !strings.HasSuffix(out, "\nnote: it would be refused: no\n") {
		t.Errorf("exit code %d, %q, %q, done %q", code, out, errs, r.done)
	}
	r = &restorer{fakeAgent: newFake(), refusal: api.Timeout("find out")}
	if code, out, _ := restoring(t, r, "--diff"); code != 4 || out != "" {
		t.Errorf("without an answer: exit code %d, %q", code, out)
	}
}

// A maintenance that cannot be had is left out, and the rest is restored.
func TestARestoreLeavesOutAMaintenance(t *testing.T) {
	r := &restorer{fakeAgent: newFake(), left: []api.Undrained{{Node: "alpha", Why: "nobody else could hold service web now"}}}
	code, out, errs := restoring(t, r)
	want := slices.DeleteFunc(slices.Clone(restoredInOrder), func(s string) bool { return s == "drain alpha" })
	if code != 0 || !slices.Equal(r.done, want) || strings.Contains(out, "drained") ||
		!strings.HasSuffix(out, "\nnote: the maintenance of alpha is not restored: nobody else could hold service web now; `nightporter drain --force alpha`\n") {
		t.Errorf("exit code %d, %s: done %q, says %q", code, errs, r.done, out)
	}
}

// What is to be deleted and is not there any more is done.
func TestARestoreTakesAMissingServiceAsDeleted(t *testing.T) {
	r := &restorer{fakeAgent: newFake(), failing: 2, failure: api.UnknownService("old", nil)}
	code, _, errs := restoring(t, r)
	if want := slices.DeleteFunc(slices.Clone(restoredInOrder), func(s string) bool { return s == "delete old" }); code != 0 || !slices.Equal(r.done, want) {
		t.Errorf("exit code %d, %s: done %q", code, errs, r.done)
	}
}

// Of a chain of addresses the end comes first, whatever the names.
func TestARestoreBeginsAtTheEndOfAChain(t *testing.T) {
	service := func(name string, n byte) api.Service {
		return api.Service{Name: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, n})}, MAC: api.MAC{2, 0, 0, 0, 9, name[0]}}
	}
	for _, c := range []struct {
		what            string
		have, to        []api.Service
		deleted, expect []string
	}{
		{"nothing in the way", []api.Service{service("a", 1), service("b", 2)}, []api.Service{service("a", 3), service("b", 4)}, nil, []string{"a", "b"}},
		{"a chain", []api.Service{service("a", 1), service("b", 2), service("c", 3)}, []api.Service{service("a", 2), service("b", 3), service("c", 4)}, nil, []string{"c", "b", "a"}},
		{"the other way", []api.Service{service("a", 2), service("b", 3)}, []api.Service{service("a", 1), service("b", 2)}, nil, []string{"a", "b"}},
		{"a new one", []api.Service{service("b", 1)}, []api.Service{service("a", 1), service("b", 2)}, nil, []string{"b", "a"}},
		{"two exchanged", []api.Service{service("a", 1), service("b", 2)}, []api.Service{service("a", 2), service("b", 1), service("c", 3)}, nil, []string{"c", "a", "b"}},
		{"one that stays", []api.Service{service("z", 1)}, []api.Service{service("a", 1), service("b", 2)}, nil, []string{"b", "a"}},
		{"one that goes", []api.Service{service("z", 1)}, []api.Service{service("a", 1), service("b", 2)}, []string{"z"}, []string{"a", "b"}},
	} {
		var got []string
		for _, s := range inOrder(c.to, c.have, c.deleted) {
			got = append(got, s.Name)
		}
		if !slices.Equal(got, c.expect) {
			t.Errorf("%s: %q, want %q", c.what, got, c.expect)
		}
	}
}

// Wherever it ends, it tells exactly what was done, and what was not.
func TestARestoreThatEndsInTheMiddleTellsWhere(t *testing.T) {
	words := []string{"every epoch lifted", "service old deleted", "service mail created", "service web changed", "failover set", "wake-inrush set", "alpha drained", "service spare deleted"}
	list := func(of []string) string {
		if len(of) == 0 {
			return "nothing"
		}
		return strings.Join(of, ", ")
	}
	for i := range words {
		for _, c := range []struct {
			err  *api.Error
			code int
			says string
		}{
			{api.Refused("no", "do it"), 1, "no; done: " + list(words[:i]) + "; not done: " + list(words[i:]) + "\n  do it; what was done stays"},
			{api.NoLeader("go on", ""), 4, "cannot go on: the cluster has no leader; done: " + list(words[:i]) + "; perhaps done: " + words[i] + "; not done: " + list(words[i+1:]) + "\n  see `nightporter status`"},
			{api.Timeout("go on"), 4, "; done: " + list(words[:i]) + "; perhaps done: " + words[i] + "; not done: " + list(words[i+1:]) + "\n  "},
		} {
			r := &restorer{fakeAgent: newFake(), failing: i + 1, failure: c.err}
			code, out, errs := restoring(t, r)
			if code != c.code || out != "" || !strings.HasPrefix(errs, "nightporter: the restore ended in the middle: ") || !strings.Contains(errs, c.says) || !slices.Equal(r.done, restoredInOrder[:i]) {
				t.Errorf("step %d, %s: exit code %d, done %q, says %q, want %q", i, c.err.Code, code, r.done, errs, c.says)
			}
		}
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"nightporter/api"
)

// evil steers a terminal by C0, DEL and C1, and pretends to be a line of its own.
const evil = "x\x1b]0;owned\x07\x7f\u009b31m\n! fake\ty"

const harmless = "x?]0;owned???31m ! fake y"

// outside is a daemon that passes on what others wrote.
type outside struct{ *fakeAgent }

func (o outside) Events(context.Context, api.EventsQuery) (api.Events, error) {
	return api.Events{Events: []api.Event{{Index: 7, At: since, Kind: "service", Service: "web", Detail: evil, Sentence: "service web was changed: " + evil}}}, nil
}

func (o outside) HistoryOf(ctx context.Context, q api.HistoryQuery) (api.History, error) {
	e, err := o.Events(ctx, api.EventsQuery{})
	return api.History{Events: e.Events}, err
}

func (o outside) Explain(context.Context, string) (api.Explained, error) {
	return api.Explained{Node: &api.Why{Node: "delta", Summary: "delta: " + evil, Notes: []string{evil}}}, nil
}

func (o outside) Watch(ctx context.Context, q api.WatchQuery) (api.Watched, error) {
	w, err := o.fakeAgent.Watch(ctx, q)
	w.Status.Troubles[0].What, w.Status.Nodes[0].Version, w.Status.Services[0].Health[0].Detail = evil, evil, evil
	return w, err
}

func (o outside) Move(context.Context, string, string) (api.Moved, error) {
	return api.Moved{}, api.Refused("delta says "+evil, "look at "+evil)
}

func (o outside) Wake(context.Context, string) (api.PowerChange, error) {
	return api.PowerChange{}, api.Refused("delta says "+evil, "")
}

// What comes from other hosts or from outside cannot steer the terminal at which it is read.
func TestNothingSteersTheTerminal(t *testing.T) {
	socket := shortSocket(t)
	defer serveStory(t, socket, outside{newFake()})()
	said := func(args ...string) (out, errs string) {
		var o, e bytes.Buffer
		sh := &shell{out: &o, err: &e, in: strings.NewReader(""), getenv: func(string) string { return "" }}
		run(t.Context(), sh, append([]string{"--socket", socket, "--timeout", (20 * time.Second).String()}, args...))
		return o.String(), e.String()
	}
	for _, args := range [][]string{{"events"}, {"history"}, {"why", "delta"}, {"status", "--details"}, {"move", "web", "delta"}, {"wake", "delta"}} {
		out, errs := said(args...)
		both := out + errs
		if strings.ContainsFunc(both, func(r rune) bool { return r != '\n' && steers(r) }) || strings.Contains(both, "\n! fake") {
			t.Errorf("%v writes %q", args, both)
		}
		if !strings.Contains(both, harmless) {
			t.Errorf("%v hides it: %q", args, both)
		}
	}
	out, _ := said("events", "-o", "json")
	var e api.Event
	if err := json.Unmarshal([]byte(out), &e); err != nil || e.Detail != evil {
		t.Errorf("JSON is not as it was: %q (%v)", out, err)
	}
	var p page
	p.wrapped(80, "! ", evil)
	p.grid(30, []string{"A", "B"}, [][]string{{evil, "b"}})
	if got := p.buf.String(); got != "! "+harmless+"\nA                          B\n"+harmless+"  b\n" {
		t.Errorf("%q", got)
	}
	var wrote bytes.Buffer
	r := recovery{sh: &shell{out: &wrote}}
	if r.say("of %s:\n", evil); strings.ContainsFunc(wrote.String(), func(r rune) bool { return r != '\n' && steers(r) }) {
		t.Errorf("recover writes %q", &wrote)
	}
	if got := plainLines("a\nb\x1b[2J\u202ec"); got != "a\nb?[2J?c" {
		t.Errorf("%q", got)
	}
}

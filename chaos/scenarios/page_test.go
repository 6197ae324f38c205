package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
	chromium "nightporter/internal/browser"
)

// surf opens a real browser on a host of the lab.
func (w *world) surf(host string) *chromium.Page {
	w.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		w.Fatalf("this test uses chromium, a real browser: install it (README.md has the packages): %v", err)
	}
	in, toBrowser, err := os.Pipe()
	w.must(err)
	fromBrowser, out, err := os.Pipe()
	w.must(err)
	words, err := os.Create(filepath.Join(w.lab.Dir(), "browser.log"))
	w.must(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = w.lab.Host(host).Exec(context.WithoutCancel(w.Context()), lab.Stdio{In: in, Out: out, Err: words}, chromium.Argv(w.TempDir())...) // it is told to end
		for _, f := range []*os.File{in, out, words} {
			f.Close()
		}
	}()
	p, err := chromium.Open(w.limit(), toBrowser, fromBrowser)
	w.must(err)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			w.Error(err)
		}
		<-ended
		fromBrowser.Close()
	})
	return p
}

// The status page as people on the LAN see it, in a real browser: closed without the token, then live over a move and a sleep, on the front and on
// the others alike; and it asks nobody but its own agent for anything.
func TestTheStatusPageIsLive(t *testing.T) {
	token := "a-token-of-the-test-lab"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := build(t, lab.Options{Hosts: 4, Lines: []string{"http: {listen: lan, token_file: " + file + "}"}})
	w.settled(nil, 3)
	url := "http://" + w.lab.Host("h2").Addr().String() + ":7375/"
	for _, argv := range [][]string{{url + "v1/status"}, {url + "metrics"}, {"-H", "Authorization: Bearer wrong-wrong-wrong-wrong", url + "v1/status"}} {
		r := w.run(w.limit(), "c1", "", append([]string{"curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"}, argv...)...)
		if r.out != "401" {
			t.Errorf("curl %q: %s%s", argv, r.out, r.err)
		}
	}
	if r := w.run(w.limit(), "c1", "", "curl", "-s", "-m", "5", "-H", "Authorization: Bearer "+token, url+"metrics"); !strings.Contains(r.out, "nightporter_service_holder{service=\"web\"} 0\n") {
		t.Errorf("with the token: %.500s%s", r.out, r.err)
	}

	p, ctx := w.surf("c1"), w.limit()
	w.must(p.Go(ctx, url))
	w.must(p.Await(ctx, `!document.getElementById("door").hidden`, `document.body.innerText`))
	_, err := p.Eval(ctx, `document.getElementById("token").value = "`+token+`"; document.querySelector("#door button").click(); ""`)
	w.must(err)
	shows := func(holder, state string) {
		t.Helper()
		w.must(p.Await(ctx, `document.querySelector(".service .who").innerText.replace(/\s+/g, " ") === "`+holder+" "+state+`"`, `document.body.innerText`))
	}
	shows("h4", "serving")
	w.must(p.Await(ctx, `[...document.querySelectorAll("#hosts .name")].map(n => n.innerText).join() === "h1,h2,h3,h4"`, `document.body.innerText`))
	_, err = w.api("h1").Move(w.limit(), web, "h1")
	w.must(err)
	shows("h1", "a front, while no target is up")
	_, err = w.api("h3").Move(w.limit(), web, "h4")
	w.must(err)
	shows("h4", "serving")
	front := w.sleep("h4")
	shows(front, "a front, while no target is up")
	w.must(p.Await(ctx, `document.querySelector("#hosts tbody tr:last-child .power").innerText === "asleep" && document.querySelectorAll("#day svg rect.p-asleep").length === 1 &&
		document.querySelectorAll("#day svg rect[class^=f]").length >= 3`, `document.getElementById("day").innerHTML`))
	if dir := os.Getenv("NIGHTPORTER_SHOTS"); dir != "" { // for a look at it
		png, err := p.Shot(ctx)
		w.must(err)
		w.must(os.WriteFile(filepath.Join(dir, "lab.png"), png, 0o644))
	}
	// The time-line is the log's: all hosts tell the same, and an agent that is killed and started loses nothing of it.
	day := func(host string) (lines []string) {
		t.Helper()
		r := w.run(w.limit(), "c1", "", "curl", "-sS", "-m", "5", "-H", "Authorization: Bearer "+token, "http://"+w.lab.Host(host).Addr().String()+":7375/v1/day")
		var d api.Day
		if err := json.Unmarshal([]byte(r.out), &d); err != nil {
			return []string{fmt.Sprint(err, r.err)}
		}
		for _, l := range d.Services {
			for _, h := range l.Spans {
				lines = append(lines, fmt.Sprintf("%s %d %s since %s: %s", l.Service, h.Epoch, h.Owner, h.Since.Format(time.RFC3339Nano), h.Reason))
			}
		}
		for _, l := range d.Nodes {
			for _, n := range l.Spans {
				lines = append(lines, fmt.Sprintf("%s %s since %s: %s", l.Node, n.Power, n.Since.Format(time.RFC3339Nano), n.Reason))
			}
		}
		return lines
	}
	before := day("h3")
	if len(before) < 8 {
		t.Errorf("the day is short: %q", before)
	}
	w.must(w.lab.Host("h2").Signal(w.limit(), syscall.SIGKILL))
	_, err = w.lab.Host("h2").AwaitAgentExit(w.limit())
	w.must(err)
	w.must(p.Await(ctx, `document.getElementById("link-word").innerText === "no answer"`, `document.body.innerText`))
	w.must(w.lab.Host("h2").Start(w.limit()))
	w.must(p.Await(ctx, `document.getElementById("link-word").innerText === "live"`, `document.body.innerText`))
	w.await("h1, h2 and h3 tell the same day", func() string {
		one, two, three := day("h1"), day("h2"), day("h3")
		if !slices.Equal(one, two) || !slices.Equal(two, three) {
			return fmt.Sprintf("%q and %q and %q", one, two, three)
		}
		for _, line := range before {
			if !slices.Contains(two, line) {
				return "h2 has lost " + line
			}
		}
		return ""
	})
	for _, r := range p.Requests() {
		if !strings.HasPrefix(r, url) && r != "about:blank" {
			t.Errorf("the page asked for %s", r)
		}
	}
	for _, c := range p.Trouble() {
		if !strings.Contains(c, "401") && !strings.Contains(c, "ERR_") { // before the token was given, and while the agent was away
			t.Errorf("the browser complains: %s", c)
		}
	}
	for _, path := range w.logs() {
		if body, err := os.ReadFile(path); err != nil || strings.Contains(string(body), token) {
			t.Errorf("%s has the token in it (%v)", path, err)
		}
	}
}

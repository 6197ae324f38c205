package scenarios

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	for _, r := range p.Requests() {
		if !strings.HasPrefix(r, url) && r != "about:blank" {
			t.Errorf("the page asked for %s", r)
		}
	}
	for _, c := range p.Trouble() {
		if !strings.Contains(c, "401") { // before the token was given
			t.Errorf("the browser complains: %s", c)
		}
	}
	for _, path := range w.logs() {
		if body, err := os.ReadFile(path); err != nil || strings.Contains(string(body), token) {
			t.Errorf("%s has the token in it (%v)", path, err)
		}
	}
}

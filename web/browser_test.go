package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"nightporter/internal/browser"
)

// told is a Source that tells what it was told to.
type told struct {
	mu          sync.Mutex
	status, day map[string]any
	watchers    map[chan struct{}]bool
}

func (s *told) Status(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.status)
}

func (s *told) Day(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.day)
}

func (s *told) Metrics(context.Context) ([]byte, error) { return []byte("up 1\n"), nil }

func (s *told) Watch() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers == nil {
		s.watchers = make(map[chan struct{}]bool)
	}
	s.watchers[c] = true
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, c)
	}
}

// tell changes what is told.
func (s *told) tell(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	for c := range s.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// served serves a page on loopback until the end of the test.
func served(t *testing.T, at string, token string, s Source, change ...func(*Server)) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	v := New(Options{Node: "h1", Token: token, MetricsType: "text/plain"}, s, slog.New(slog.DiscardHandler))
	for _, f := range change {
		f(v)
	}
	ended := make(chan error, 1)
	go func() { ended <- v.Serve(l) }()
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return v, l.Addr().String()
}

// surf opens a page in a real browser.
func surf(t *testing.T) *browser.Page {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Fatalf("this test uses chromium, a real browser: install it (README.md has the packages): %v", err)
	}
	argv := browser.Argv(t.TempDir())
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var words bytes.Buffer
	cmd.Stderr = &words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := browser.Open(patience(t), in, out)
	if err != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("%v\n%s", err, words.String())
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait() // it was told to end
	})
	return p
}

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const hostile = `<img src=x onerror="document.title='broken'">`

func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339Nano) }

func node(name, power, reason string, since time.Duration, more map[string]any) map[string]any {
	n := map[string]any{
		"name": name, "alive": power == "awake", "power": power, "power_reason": reason, "since": ago(since), "policy": "sleeps", "voter": true, "leader": false, "maintenance": false,
		"fit": power == "awake", "addr": "192.0.2.11:7374", "wake": []any{}, "last_seen": ago(since), "version": "v0.2.0", "wakes": map[string]any{"woken": 0, "failures": 0, "limit_seconds": 9, "phases": []any{}},
	}
	for k, v := range more {
		n[k] = v
	}
	return n
}

func service(name, owner, state, reason string, epoch int, since time.Duration) map[string]any {
	return map[string]any{
		"name": name, "addresses": []any{"192.0.2.200"}, "mode": "mac", "mode_gives": "", "ports": []any{"8080/tcp", "22/tcp"}, "targets": []any{"delta", "charlie"}, "owner": owner, "owner_state": state,
		"epoch": epoch, "reason": reason, "since": ago(since), "by": "bravo", "role": "holding", "lease": map[string]any{"state": "held", "epoch": epoch, "left_seconds": 0.55, "refused": []any{}},
		"fence": map[string]any{"kind": "bpf", "state": "open", "limits": []any{}}, "waiting": map[string]any{"attempts": 0, "connections": 2},
		"health": []any{map[string]any{"node": "delta", "state": "ready", "detail": "", "age_seconds": 1}, map[string]any{"node": "charlie", "state": "failing", "detail": "port 8080 refuses", "age_seconds": 1}},
	}
}

// story is a day with everything in it that the page can draw.
func story() *told {
	wakes := map[string]any{"woken": 12, "failures": 1, "limit_seconds": 9, "phases": []any{
		map[string]any{"phase": "back", "count": 12, "p50_seconds": 2.1, "p95_seconds": 3.4, "max_seconds": 3.6}, map[string]any{"phase": "served", "count": 12, "p50_seconds": 2.9, "p95_seconds": 4.6, "max_seconds": 5.1},
	}}
	var holders, media, power, calls, samples []any
	for i := range 8 {
		from, mid, to := time.Duration(24-3*i)*time.Hour, time.Duration(24-3*i)*time.Hour-70*time.Minute, time.Duration(21-3*i)*time.Hour
		holders = append(holders, map[string]any{"from": ago(from), "until": ago(mid), "since": ago(from), "owner": "delta", "epoch": 40 + 2*i, "reason": "target-ready"},
			map[string]any{"from": ago(mid), "until": ago(to), "since": ago(mid), "owner": []string{"alpha", "bravo"}[i%2], "epoch": 41 + 2*i, "reason": "owner-sleeps"})
		power = append(power, map[string]any{"from": ago(from), "until": ago(mid), "since": ago(from), "power": "awake", "reason": "woke-up"},
			map[string]any{"from": ago(mid), "until": ago(to), "since": ago(mid), "power": "asleep", "reason": "idle"})
		calls = append(calls, map[string]any{
			"id": fmt.Sprint(i), "node": "delta", "service": "nas", "cause": "demand", "client": "192.0.2.77:51234", "port": "tcp/8080", "by": "alpha", "started": ago(from),
			"ended": ago(from), "result": map[bool]string{true: "gave-up", false: "woke-up"}[i == 3], "verdict": "useful", "phases": []any{map[string]any{"phase": "served", "after_seconds": 2.9}},
		})
	}
	media = append(media, map[string]any{"from": ago(24 * time.Hour), "until": ago(9 * time.Hour), "since": ago(80 * time.Hour), "owner": "charlie", "epoch": 7, "reason": "first-owner"},
		map[string]any{"from": ago(9 * time.Hour), "until": ago(8 * time.Hour), "since": ago(9 * time.Hour), "owner": "", "epoch": 8, "reason": "nobody-available"},
		map[string]any{"from": ago(8 * time.Hour), "until": ago(0), "since": ago(8 * time.Hour), "owner": "bravo", "epoch": 9, "reason": "owner-failed"})
	for i := range 40 {
		samples = append(samples, map[string]any{"at": ago(time.Duration(i) * time.Hour), "failed": i == 17, "phases": []any{map[string]any{"phase": "served", "after_seconds": 2.2 + float64((i*i)%17)/7}}})
	}
	always := func(name string) map[string]any {
		return map[string]any{"node": name, "policy": "always-on", "spans": []any{map[string]any{"from": ago(24 * time.Hour), "until": ago(0), "since": ago(300 * time.Hour), "power": "awake", "reason": "node-joined"}}}
	}
	return &told{
		status: map[string]any{
			"node": "alpha", "version": "v0.2.0", "cluster": map[string]any{"id": "x", "name": "home"}, "leader": "bravo", "failover_seconds": 1, "known": map[string]any{"index": 70, "current": true, "age_seconds": 0}, "time": ago(0),
			"quorum":   map[string]any{"voters": []any{"alpha", "bravo", "charlie"}, "awake": []any{"alpha", "bravo"}, "needed": 2, "have": true},
			"problems": []any{"node charlie is not in touch", "service media belongs to bravo " + hostile},
			"services": []any{service("nas", "alpha", "holding", "owner-sleeps", 55, 23*time.Minute), service("media", "bravo", "serving", "owner-failed", 9, 8*time.Hour)},
			"nodes": []any{
				node("alpha", "awake", "node-joined", 300*time.Hour, map[string]any{"policy": "always-on"}), node("bravo", "awake", "node-joined", 300*time.Hour, map[string]any{"policy": "always-on", "leader": true}),
				node("charlie", "off", "node-failed", 9*time.Hour, map[string]any{"policy": "always-on"}), node("delta", "asleep", "idle", 23*time.Minute, map[string]any{"voter": false, "wakes": wakes}),
			},
		},
		day: map[string]any{
			"index": 70, "from": ago(24 * time.Hour), "until": ago(0), "wakes": calls,
			"services": []any{map[string]any{"service": "nas", "spans": holders}, map[string]any{"service": "media", "spans": media}},
			"nodes": []any{always("alpha"), always("bravo"), map[string]any{"node": "charlie", "policy": "always-on", "spans": []any{
				map[string]any{"from": ago(24 * time.Hour), "until": ago(9 * time.Hour), "since": ago(80 * time.Hour), "power": "awake", "reason": ""},
				map[string]any{"from": ago(9 * time.Hour), "until": ago(0), "since": ago(9 * time.Hour), "power": "off", "reason": "node-failed"},
			}}, map[string]any{"node": "delta", "policy": "sleeps", "spans": power}},
			"times": []any{map[string]any{"node": "delta", "limit_seconds": 9, "samples": samples}},
		},
	}
}

// text is what people read of an element.
func text(id string) string { return `document.getElementById("` + id + `").innerText` }

// The page in a real browser: it draws everything, goes on by itself when something changes, says when the agent is away and comes back, asks
// nobody else for anything, and breaks none of its own policies.
func TestThePageInABrowser(t *testing.T) {
	s := story()
	v, at := served(t, "127.0.0.1:0", "", s)
	p, ctx := surf(t), patience(t)
	must(t, p.Resize(ctx, 1200, 900))
	must(t, p.Go(ctx, "http://"+at+"/"))
	must(t, p.Await(ctx, `document.querySelectorAll("#day svg rect.p-asleep").length === 8 && document.querySelectorAll("#times circle").length === 39`, `document.body.innerText`))
	for script, want := range map[string]string{
		text("cluster"): "home", text("link-word"): "live",
		`document.querySelectorAll("#problems li").length`:                                                                     "2",
		`document.querySelectorAll("#problems img, .service img").length`:                                                      "0",
		`[...document.querySelectorAll("#hosts tbody tr")].map(r => r.cells[0].innerText).join(" ")`:                           "alpha\nthis host bravo charlie delta",
		`document.querySelector("#hosts tbody tr:last-child .power").innerText`:                                                "asleep",
		`document.querySelectorAll("#day svg .nobody").length`:                                                                 "1",
		`document.querySelectorAll("#day svg .call").length + " " + document.querySelectorAll("#day svg .call-failed").length`: "7 1",
		`document.querySelectorAll("#day-table tbody tr").length`:                                                              "47",
		`document.querySelector("#day svg").getAttribute("role")`:                                                              "img",
		`document.querySelectorAll("#times h3").length`:                                                                        "1",
	} {
		if got, err := p.Eval(ctx, script); err != nil || got != want {
			t.Errorf("%s gives %q (%v), want %q", script, got, err, want)
		}
	}
	if got, err := p.Eval(ctx, text("problems-body")); err != nil || !strings.Contains(got, hostile) {
		t.Errorf("the problems read %q (%v)", got, err)
	}
	shots(t, p)
	must(t, p.Resize(ctx, 360, 740))
	must(t, p.Await(ctx, `document.documentElement.scrollWidth <= 360 && document.querySelector("#day svg").viewBox.baseVal.width < 360`, `document.documentElement.scrollWidth`))

	s.tell(func() {
		s.status["services"].([]any)[0] = service("nas", "delta", "serving", "target-ready", 56, 0)
		s.status["problems"] = []any{}
	})
	must(t, p.Await(ctx, `document.querySelector(".service .who").innerText.includes("delta") && `+text("problems-body")+`.includes("Nothing") && `+text("news")+`.includes("nas is held by delta now")`, `document.body.innerText`))

	// The day follows the log, though the first answer may be a moment too old.
	s.tell(func() { s.status["known"].(map[string]any)["index"] = 71 })
	time.AfterFunc(time.Second, func() {
		s.tell(func() { s.day["index"], s.day["wakes"] = 71, []any{} })
	})
	must(t, p.Await(ctx, `document.querySelectorAll("#day svg .call").length === 0`, `document.getElementById("day").innerHTML`))

	// An agent that tells what to do, and of the holder's lease, is believed.
	s.tell(func() {
		s.status["troubles"] = []any{map[string]any{"what": "a fan stands", "do": "turn it"}}
		s.status["services"].([]any)[0].(map[string]any)["holder"] = map[string]any{"lease": "granted", "fence": "presumed-open"}
	})
	must(t, p.Await(ctx, text("problems-body")+`.includes("turn it") && document.querySelector(".service").innerText.includes("granted by this host")`, `document.body.innerText`))

	must(t, v.Close()) // the agent is started again
	must(t, p.Await(ctx, text("link-word")+` === "no answer" && `+text("link-age")+`.startsWith("last heard ") && document.body.classList.contains("stale")`, text("link-word")))
	s.tell(func() { s.status["leader"] = "alpha" })
	served(t, at, "", s)
	must(t, p.Await(ctx, text("link-word")+` === "live" && `+text("answers")+`.includes("alpha leads")`, text("answers")))

	for _, r := range p.Requests() {
		if u, err := url.Parse(r); err != nil || (u.Host != at && u.Scheme != "about") {
			t.Errorf("the page asked for %s", r)
		}
	}
	for _, trouble := range p.Trouble() {
		if !strings.Contains(trouble, "ERR_") { // the agent was away
			t.Errorf("the browser complains: %s", trouble)
		}
	}
}

// shots leaves pictures of the page in the folder that NIGHTPORTER_SHOTS names, for a look at them.
func shots(t *testing.T, p *browser.Page) {
	t.Helper()
	dir := os.Getenv("NIGHTPORTER_SHOTS")
	if dir == "" {
		return
	}
	ctx := patience(t)
	for name, w := range map[string]int{"wide": 1200, "phone": 380} {
		for _, dark := range []bool{false, true} {
			must(t, p.Dark(ctx, dark))
			must(t, p.Resize(ctx, w, 900))
			must(t, p.Await(ctx, fmt.Sprintf(`new Promise(r => setTimeout(() => r(document.querySelector("#day svg").viewBox.baseVal.width < %d), 600))`, w), `document.body.innerText`))
			png, err := p.Shot(ctx)
			must(t, err)
			must(t, os.WriteFile(fmt.Sprintf("%s/%s-%t.png", dir, name, dark), png, 0o644))
		}
	}
	must(t, p.Dark(ctx, false))
}

// A page with a token: a wrong one is refused, the right one becomes a cookie, by the form and by the address's fragment, and it is in no address.
func TestThePageWantsAToken(t *testing.T) {
	const token = "correct-horse-battery"
	_, at := served(t, "127.0.0.1:0", token, story())
	p, ctx := surf(t), patience(t)
	must(t, p.Go(ctx, "http://"+at+"/"))
	must(t, p.Await(ctx, `!document.getElementById("door").hidden && document.getElementById("main").hidden`, `document.body.innerText`))
	enter := func(word string) {
		must(t, must1(p.Eval(ctx, `document.getElementById("token").value = "`+word+`"; document.querySelector("#door button").click(); ""`)))
	}
	enter("wrong-horse-battery")
	must(t, p.Await(ctx, `document.getElementById("door").classList.contains("wrong") && `+text("door-why")+`.includes("not the token")`, `document.body.innerText`))
	enter(token)
	must(t, p.Await(ctx, `!document.getElementById("main").hidden && `+text("cluster")+` === "home" && document.cookie === ""`, `document.body.innerText`))
	must(t, p.Go(ctx, "http://"+at+"/?again"))
	must(t, p.Await(ctx, `location.search === "?again" && !document.getElementById("main").hidden`, `document.body.innerText`))

	other := surf(t)
	must(t, other.Go(ctx, "http://"+at+"/#"+token))
	must(t, other.Await(ctx, `!document.getElementById("main").hidden && location.hash === ""`, `document.body.innerText`))

	// A fragment that encodes nothing is a wrong token, and not the end of the page.
	odd := surf(t)
	must(t, odd.Go(ctx, "http://"+at+"/#%"))
	must(t, odd.Await(ctx, `document.getElementById("door").classList.contains("wrong") && !document.getElementById("door").hidden && location.hash === ""`, `document.body.innerText`))
	for _, r := range append(p.Requests(), other.Requests()...) {
		if u, err := url.Parse(r); err != nil || strings.Contains(u.Path+u.RawQuery, token) {
			t.Errorf("the token is in %s", r)
		}
	}
}

func must1(_ string, err error) error { return err }

package web

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"nightporter/internal/browser"
)

// states are what the page may have to show.
func states() map[string]*told {
	well := story()
	well.status["problems"] = []any{}
	well.status["nodes"].([]any)[2] = node("charlie", "awake", "node-joined", 300*time.Hour, map[string]any{"policy": "always-on"})
	for _, s := range well.status["services"].([]any) {
		s.(map[string]any)["health"] = []any{}
	}
	asleep := crowd(4, 2)
	asleep.status["problems"] = []any{}
	alone := crowd(1, 1)
	cut := story()
	cut.status["leader"] = ""
	cut.status["known"] = map[string]any{"index": 70, "current": false, "age_seconds": 7000}
	cut.status["quorum"] = map[string]any{"voters": []any{"alpha", "bravo", "charlie"}, "awake": []any{"alpha"}, "needed": 2, "have": false}
	cut.status["problems"] = []any{
		"there is no leader: nothing can be decided, and services stay with their holders only while a majority of the voters answers",
		"what stands here of owners and power is 2h old: since then this host has heard of no leader", "only 1 of the 2 voters that are needed are awake and in touch",
	}
	new := crowd(1, 0)
	new.status["services"], new.day["services"] = []any{}, []any{}
	return map[string]*told{"well": well, "ill": story(), "asleep": asleep, "cut-off": cut, "one-host": alone, "nothing-yet": new, "crowd": crowd(12, 12)}
}

// crowd is a cluster of many hosts, all but every third of them sleepers, with names and sentences as long as they may be.
func crowd(hosts, services int) *told {
	s := story()
	name := func(i int) string {
		return []string{"alpha", "backup-server", "charlie", "d", "echo-of-the-attic", "fox", "garage-pi", "hotel", "in-the-living-room-of-the-neighbour-upstairs", "j1", "kilo", "lima-build-box"}[i%12]
	}
	nodes, lines, served, held, times, calls := []any{}, []any{}, []any{}, []any{}, []any{}, []any{}
	for i := range hosts {
		if i%3 == 0 {
			nodes = append(nodes, node(name(i), "awake", "node-joined", 300*time.Hour, map[string]any{"policy": "always-on", "leader": i == 0}))
			lines = append(lines, map[string]any{"node": name(i), "policy": "always-on", "spans": []any{map[string]any{"from": ago(24 * time.Hour), "until": ago(0), "since": ago(300 * time.Hour), "power": "awake", "reason": "node-joined"}}})
			continue
		}
		power, reason := [2]string{"asleep", "waking"}[i/7%2], [2]string{"idle", "demand"}[i/7%2]
		n := node(name(i), power, reason, 3*time.Minute, map[string]any{"voter": false, "version": "v0.2.0-113-g0123456789-dirty"})
		n["wakes"] = map[string]any{"woken": 3, "failures": i % 2, "limit_seconds": 9, "phases": []any{map[string]any{"phase": "served", "count": 3, "p50_seconds": 2.9, "p95_seconds": 4.6, "max_seconds": 5.1}}}
		if i%4 == 1 {
			n["wake_fitness"] = map[string]any{"may_sleep": false, "cannot_be_woken": i == 5, "why": "it was called in vain"}
		}
		nodes = append(nodes, n)
		spans, until := []any{}, 24*time.Hour
		for k := 0; until > 4*time.Minute; k++ {
			from := until
			until = max(from-time.Duration(20+13*((k*7+i)%9))*time.Minute, 3*time.Minute)
			spans = append(spans, map[string]any{"from": ago(from), "until": ago(until), "since": ago(from), "power": [2]string{"awake", "asleep"}[k%2], "reason": [2]string{"woke-up", "idle"}[k%2]})
			if k%2 == 0 {
				calls = append(calls, map[string]any{
					"id": fmt.Sprint(i, k), "node": name(i), "service": "s", "cause": "demand", "client": "[2001:db8::77]:51234", "port": "tcp/8080", "by": "alpha", "started": ago(from), "ended": ago(from),
					"result": map[bool]string{true: "gave-up", false: "woke-up"}[k == 6], "verdict": "useful", "phases": []any{map[string]any{"phase": "served", "after_seconds": 2.9}},
				})
			}
		}
		spans = append(spans, map[string]any{"from": ago(until), "until": ago(0), "since": ago(until), "power": power, "reason": reason})
		lines = append(lines, map[string]any{"node": name(i), "policy": "sleeps", "spans": spans})
		times = append(times, map[string]any{"node": name(i), "limit_seconds": 9, "samples": []any{
			map[string]any{"at": ago(time.Hour), "failed": false, "phases": []any{map[string]any{"phase": "served", "after_seconds": 0.4 + float64(i)/3}}},
			map[string]any{"at": ago(2 * time.Hour), "failed": i%2 == 0, "phases": []any{map[string]any{"phase": "served", "after_seconds": 0.5 + float64(i)}}},
		}})
	}
	for i := range services {
		sv, owner := name(i)+"-service", name(i*5%hosts)
		one := service(sv, owner, []string{"serving", "holding", "claiming", "silent"}[i%4], "owner-sleeps", 100+i, time.Duration(i*i)*time.Minute)
		one["addresses"] = []any{fmt.Sprintf("192.0.2.%d", 200+i), "2001:db8:1:2:3:4:5:6"}
		served = append(served, one)
		var spans []any
		for k := range 24 {
			spans = append(spans, map[string]any{"from": ago(time.Duration(24-k) * time.Hour), "until": ago(time.Duration(23-k) * time.Hour), "since": ago(time.Duration(24-k) * time.Hour), "owner": name(k * (i + 1) % hosts), "epoch": k, "reason": "owner-sleeps"})
		}
		held = append(held, map[string]any{"service": sv, "spans": spans})
	}
	s.status["nodes"], s.status["services"], s.status["node"] = nodes, served, "alpha"
	s.day["nodes"], s.day["services"], s.day["wakes"], s.day["times"] = lines, held, calls, times
	return s
}

// unruly finds what is ugly: text over other text or out of the window, and drawings that leave their place.
const unruly = `(() => {
	const out = [], texts = []
	if (document.documentElement.scrollWidth > innerWidth) out.push("the page is " + document.documentElement.scrollWidth + " wide")
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
	for (let n; (n = walk.nextNode());) {
		const e = n.parentElement
		if (!n.data.trim() || e.closest(".unseen, title, thead, .scroll, noscript, [hidden]") || !e.checkVisibility()) continue
		const range = document.createRange()
		range.selectNodeContents(n)
		for (const r of range.getClientRects()) if (r.width > 0) texts.push({ r, word: n.data.trim() })
	}
	for (const [i, a] of texts.entries()) {
		if (a.r.left < -1 || a.r.right > innerWidth + 1) out.push(a.word + " leaves the window")
		for (const b of texts.slice(i + 1)) {
			const w = Math.min(a.r.right, b.r.right) - Math.max(a.r.left, b.r.left), h = Math.min(a.r.bottom, b.r.bottom) - Math.max(a.r.top, b.r.top)
			if (w > 1 && h > 4) out.push(a.word + " is over " + b.word)
		}
	}
	for (const e of document.querySelectorAll("svg *")) {
		const r = e.getBoundingClientRect(), s = e.ownerSVGElement.getBoundingClientRect()
		if (r.width && (r.left < s.left - 6 || r.right > s.right + 6)) out.push(e.tagName + " " + e.textContent.slice(0, 40) + " leaves its drawing")
	}
	return out.slice(0, 9).join("; ")
})()`

// Every state is to be read on every screen.
func TestThePageIsNeverUnruly(t *testing.T) {
	p, ctx := surf(t), patience(t)
	drawn := `document.querySelector("#day svg")?.viewBox.baseVal.width === Math.floor(document.getElementById("day").clientWidth) && document.getAnimations().length === 0`
	for name, s := range states() {
		_, at := served(t, "127.0.0.1:0", "", s)
		must(t, p.Go(ctx, "http://"+at+"/"))
		for _, width := range []int{320, 390, 768, 1200} {
			must(t, p.Resize(ctx, width, 900))
			must(t, p.Await(ctx, fmt.Sprintf(`innerWidth === %d && %s`, width, drawn), `innerWidth + document.body.innerText`))
			if ugly, err := p.Eval(ctx, unruly); err != nil || ugly != "" {
				t.Errorf("%s at %d: %s %v", name, width, ugly, err)
			}
			shot(t, p, fmt.Sprintf("%s-%d", name, width))
		}
		if os.Getenv("NIGHTPORTER_SHOTS") != "" {
			must(t, p.Dark(ctx, true))
			must(t, p.Await(ctx, drawn, `""`))
			shot(t, p, name+"-dark")
			must(t, p.Dark(ctx, false))
		}
	}
	for _, trouble := range p.Trouble() {
		if !strings.Contains(trouble, "ERR_") { // the pages before this one
			t.Errorf("the browser complains: %s", trouble)
		}
	}
}

// A host that is cut off says so, and from when on it knows nothing; an election is no news; and it is over when it is over.
func TestThePageSaysWhatIsOld(t *testing.T) {
	s := states()["cut-off"]
	known := func(current bool, age float64) {
		s.tell(func() { s.status["known"] = map[string]any{"index": 70, "current": current, "age_seconds": age} })
	}
	known(false, 2)
	_, at := served(t, "127.0.0.1:0", "", s)
	p, ctx := surf(t), patience(t)
	must(t, p.Resize(ctx, 1200, 900))
	must(t, p.Go(ctx, "http://"+at+"/"))
	is := func(word, sentence string, covered bool) {
		t.Helper()
		must(t, p.Await(ctx, fmt.Sprintf(`%s === %q && document.getElementById("dated").textContent.includes(%q) && document.getElementById("dated").hidden === %t &&
			document.querySelectorAll("#day .unknown").length === %d`, text("link-word"), word, sentence, sentence == "", map[bool]int{true: 1}[covered]), `document.body.innerText`))
	}
	is("live", "", false)
	known(false, 7200)
	is("cut off", "For 2 h this host has heard of no leader", true)
	// The cover begins where the knowledge ends: two of twenty-four hours from the right.
	const share = `(r => r.querySelector(".unknown").getAttribute("width") / r.querySelector(".base").getAttribute("width"))(document.querySelector("#day svg"))`
	must(t, p.Await(ctx, `Math.abs(`+share+` - 2 / 24) < 0.005`, `"the cover is elsewhere: " + `+share))
	known(false, 0)
	is("cut off", "Since its agent started, this host has heard of no leader", true)
	known(true, 0)
	is("live", "", false)
}

// Where the agent has streams enough, the page asks now and then.
func TestThePageWithoutAStream(t *testing.T) {
	s := states()["well"]
	v, at := served(t, "127.0.0.1:0", "", s)
	v.streams.Store(streamsMost)
	p, ctx := surf(t), patience(t)
	must(t, p.Go(ctx, "http://"+at+"/"))
	must(t, p.Await(ctx, text("link-word")+` === "live" && `+text("answers")+`.includes("bravo leads")`, `document.body.innerText`))
	s.tell(func() { s.status["leader"] = "alpha" })
	must(t, p.Await(ctx, text("link-word")+` === "live" && `+text("answers")+`.includes("alpha leads")`, `document.body.innerText`))
	v.streams.Add(-streamsMost)
	for v.streams.Load() != 1 { // the page has one of its own; the browser lists a request when it has ended, and this one does not
		select {
		case <-ctx.Done():
			t.Fatal("the page does not try the stream again")
		case <-time.After(10 * time.Millisecond):
		}
	}
	must(t, p.Await(ctx, text("link-word")+` === "live"`, text("link-word")))
}

// On days on which clocks are set the marks of the axis stand at whole hours of the clock on the wall, each once.
func TestTheAxisOnDaysOnWhichClocksAreSet(t *testing.T) {
	_, at := served(t, "127.0.0.1:0", "", story())
	p, ctx := surf(t), patience(t)
	must(t, p.Go(ctx, "http://"+at+"/"))
	must(t, p.Await(ctx, `document.querySelector("#day svg") !== null`, `document.body.innerText`))
	for _, c := range []struct {
		zone, until string
		step        int
		want        string
	}{
		{"Europe/Berlin", "2026-03-29T10:00:00Z", 7200, "12 14 16 18 20 22 0 3 4 6 8 10 12"}, // 2:00 is 3:00
		{"Europe/Berlin", "2026-10-25T11:00:00Z", 7200, "14 16 18 20 22 0 2 4 6 8 10 12"},    // 2:00 is there twice
		{"Europe/Berlin", "2026-10-25T11:00:00Z", 10800, "15 18 21 0 3 6 9 12"},
		{"America/New_York", "2026-11-22T12:00:00Z", 10800, "9 12 15 18 21 0 3 6"},
		{"Asia/Kolkata", "2026-11-22T12:00:00Z", 10800, "18 21 0 3 6 9 12 15"}, // half an hour off
		{"UTC", "2026-11-22T12:00:00Z", 21600, "12 18 0 6 12"},
	} {
		must(t, p.Zone(ctx, c.zone))
		got, err := p.Eval(ctx, fmt.Sprintf(`import("/draw.js").then(d => { const u = Date.parse(%q), t = d.ticks(u - 864e5, u, %d); return t.map(x => new Date(x).getMinutes() ? "?" : new Date(x).getHours()).join(" ") })`, c.until, c.step))
		if err != nil || got != c.want {
			t.Errorf("%s %s: %s (%v), want %s", c.zone, c.until, got, err, c.want)
		}
	}
}

// shot leaves a picture of the page in the folder that NIGHTPORTER_SHOTS names, for a look at it.
func shot(t *testing.T, p *browser.Page, name string) {
	t.Helper()
	dir := os.Getenv("NIGHTPORTER_SHOTS")
	if dir == "" {
		return
	}
	png, err := p.Shot(patience(t))
	must(t, err)
	must(t, os.WriteFile(fmt.Sprintf("%s/%s.png", dir, strings.ReplaceAll(name, " ", "-")), png, 0o644))
}

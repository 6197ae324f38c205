package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"nightporter/chaos/check"
	"nightporter/chaos/history"
)

func at(s float64) time.Time {
	return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(s * float64(time.Second)))
}

func story() *history.History {
	return &history.History{
		Seed: 7, Began: at(0), Calm: at(20), Ended: at(30),
		Setup: history.Setup{
			Hosts: []history.Host{{Name: "h1"}, {Name: "h2", Sleeper: true}}, Failover: time.Second,
			Services: []history.Service{{Name: "web", Targets: []string{"h2"}}},
		},
		Faults:  []history.Fault{{Kind: history.Kill, Host: "h1", From: at(9), To: at(12), Detail: "<b>"}, {Kind: history.Noise, From: at(3), To: at(4)}},
		Powers:  []history.Power{{Host: "h2", At: at(1), State: history.Asleep}, {Host: "h2", At: at(6), State: history.Resuming}, {Host: "h2", At: at(7), State: history.Up}},
		Demands: []history.Demand{{At: at(5.5), Service: "web", Host: "h1"}},
		Magics:  []history.Magic{{At: at(5.501), From: "h1", Target: "h2"}},
		Spans:   []history.Span{{Service: "web", Host: "h1", First: at(1), Last: at(7), Frames: 5}, {Service: "web", Host: "h2", First: at(7.2), Last: at(30), Frames: 9}},
		Records: []history.Record{{Service: "web", Epoch: 2, From: "h1", To: "h2", At: at(7.1)}},
		Requests: []history.Request{
			{Client: "c1", Service: "web", Began: at(5.5), Ended: at(7.3), Server: "h2"},
			{Client: "c1", Service: "web", Began: at(10), Ended: at(11), Err: "no"},
			{Client: "c1", Service: "web", Began: at(11.1), Ended: at(11.2), Server: "h2"},
		},
	}
}

func TestThePageIsWholeAndNeedsNothingElse(t *testing.T) {
	h := story()
	var b bytes.Buffer
	if err := Write(&b, h, check.Judge(h)); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{"web @ h1", "web clients", "epoch 2: h1 -&gt; h2", "kill &lt;b&gt;", "single-holder", "magic packet from h1", "during kill"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"http://", "https://", "src=", "<script"} {
		if strings.Contains(strings.ReplaceAll(page, "http://www.w3.org/2000/svg", ""), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	svg := page[strings.Index(page, "<svg"):]
	svg = svg[:strings.Index(svg, "</svg>")+6]
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the time-line is no SVG: %v", err)
		}
	}
}

func TestPhases(t *testing.T) {
	p := phases(story())
	want := []time.Duration{time.Millisecond, 1499 * time.Millisecond, 200 * time.Millisecond}
	for i, w := range want {
		if p[i].Count != 1 || p[i].P50.Round(time.Millisecond) != w {
			t.Errorf("%s: %+v, want %s", p[i].Name, p[i], w)
		}
	}
}

func TestDistribution(t *testing.T) {
	var d []time.Duration
	for i := 100; i > 0; i-- {
		d = append(d, time.Duration(i))
	}
	if r := distribution("x", d); r.Count != 100 || r.P50 != 50 || r.P95 != 95 || r.Max != 100 {
		t.Errorf("%+v", r)
	}
	if r := distribution("x", nil); r.Count != 0 || r.Max != 0 {
		t.Errorf("%+v", r)
	}
}

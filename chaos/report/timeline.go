package report

import (
	"fmt"
	"time"

	"nightporter/chaos/history"
	"nightporter/internal/markup"
)

// Sizes of the time-line, in pixels.
const (
	perSecond = 8
	laneHigh  = 14
	groupGap  = 10
	labels    = 130
	tickEvery = 10 * time.Second
)

// lane is one line of the time-line.
type lane struct {
	Y     int
	Label string
	Bars  []bar
}

// bar is something with a beginning and an end; a moment is one pixel wide.
type bar struct {
	X, Y, W, H int
	Class      string
	Title      string
}

type tick struct {
	X     int
	Label string
}

// merge joins spans of one host that are closer than a person can see.
const merge = 250 * time.Millisecond

// draw lays the lanes out: for each host its power and its faults, then for each service who used it and what clients got.
func draw(h *history.History) timeline {
	p := &pencil{h: h, y: 20}
	for _, host := range h.Setup.Hosts {
		p.host(host.Name)
	}
	p.lane("network")
	for _, f := range h.Faults {
		if f.Host == "" {
			p.bar(f.From, p.until(f.To), "fault", fmt.Sprintf("%s %s", f.Kind, f.Detail))
		}
	}
	p.y += groupGap
	for _, sv := range h.Setup.Services {
		p.service(sv.Name)
	}
	t := timeline{lanes: p.lanes, high: p.y + laneHigh, wide: labels + p.x(h.Ended)}
	for at := h.Began; at.Before(h.Ended); at = at.Add(tickEvery) {
		t.ticks = append(t.ticks, tick{labels + p.x(at), fmt.Sprintf("%.0f s", at.Sub(h.Began).Seconds())})
	}
	return t
}

// timeline is the whole of it.
type timeline struct {
	lanes      []lane
	ticks      []tick
	wide, high int
}

func (t timeline) markup() markup.Text {
	ticks := markup.Each(t.ticks, func(k tick) markup.Text {
		return markup.Fill(`<line class="tick" x1="%v" x2="%v" y1="14" y2="%v"/><text x="%v" y="11">%v</text>`+"\n", k.X, k.X, t.high, k.X, k.Label)
	})
	return markup.Fill(`<svg xmlns="http://www.w3.org/2000/svg" width="%v" height="%v">`+"\n%v%v</svg>", t.wide, t.high, ticks, markup.Each(t.lanes, lane.markup))
}

func (l lane) markup() markup.Text {
	return markup.Fill(`<text x="4" y="%v">%v</text>`+"\n", l.Y+10, l.Label) + markup.Each(l.Bars, func(b bar) markup.Text {
		return markup.Fill(`<rect class="%v" x="%v" y="%v" width="%v" height="%v"><title>%v</title></rect>`+"\n", b.Class, b.X, b.Y, b.W, b.H, b.Title)
	})
}

type pencil struct {
	h     *history.History
	y     int
	lanes []lane
}

func (p *pencil) x(at time.Time) int {
	return max(0, int(at.Sub(p.h.Began).Seconds()*perSecond))
}

func (p *pencil) until(at time.Time) time.Time {
	if at.IsZero() {
		return p.h.Ended
	}
	return at
}

func (p *pencil) lane(label string) {
	p.lanes = append(p.lanes, lane{Y: p.y, Label: label})
	p.y += laneHigh
}

func (p *pencil) bar(from, to time.Time, class, title string) {
	l := &p.lanes[len(p.lanes)-1]
	x := p.x(from)
	l.Bars = append(l.Bars, bar{
		X: labels + x, Y: l.Y + 1, W: max(1, p.x(to)-x), H: laneHigh - 2, Class: class,
		Title: fmt.Sprintf("%s, from %s to %s", title, since(p.h, from), since(p.h, to)),
	})
}

func (p *pencil) host(name string) {
	p.lane(name)
	state, since := history.Up, p.h.Began
	for _, c := range p.h.Powers {
		if c.Host == name {
			p.power(state, since, c.At)
			state, since = c.State, c.At
		}
	}
	p.power(state, since, p.h.Ended)
	for _, f := range p.h.Faults {
		if f.Host == name {
			p.bar(f.From, p.until(f.To), "fault", fmt.Sprintf("%s %s", f.Kind, f.Detail))
		}
	}
	for _, m := range p.h.Magics {
		if m.Target == name {
			p.bar(m.At, m.At, "magic", "magic packet from "+m.From)
		}
	}
}

func (p *pencil) power(s history.PowerState, from, to time.Time) {
	if s != history.Up && to.After(p.h.Began) {
		p.bar(from, to, string(s), string(s))
	}
}

func (p *pencil) service(name string) {
	users := map[string]bool{}
	for _, s := range p.h.Spans {
		if s.Service == name {
			users[s.Host] = true
		}
	}
	for _, host := range p.h.Setup.Hosts {
		if !users[host.Name] {
			continue
		}
		p.lane(name + " @ " + host.Name)
		p.spans(name, host.Name)
		for _, r := range p.h.Records {
			if r.Service == name && r.To == host.Name && !r.At.IsZero() {
				p.bar(r.At, r.At, "record", fmt.Sprintf("epoch %d: %s -> %s, %s", r.Epoch, r.From, r.To, r.Reason))
			}
		}
	}
	p.lane(name + " clients")
	for _, r := range p.h.Requests {
		if r.Service == name {
			class, title := "ok", r.Client+" answered by "+r.Server
			if !r.OK() {
				class, title = "failed", r.Client+": "+r.Err
			} else if r.Ended.Sub(r.Began) > merge {
				class = "slow"
			}
			p.bar(r.Began, r.Ended, class, title)
		}
	}
	p.y += groupGap
}

// spans draws who used an identity.
func (p *pencil) spans(service, host string) {
	var from, to time.Time
	frames := 0
	flush := func() {
		if frames > 0 {
			p.bar(from, to, "holds", fmt.Sprintf("%d frames", frames))
		}
	}
	for _, s := range p.h.Spans {
		if s.Service != service || s.Host != host {
			continue
		}
		if frames == 0 || s.First.Sub(to) > merge {
			flush()
			from, frames = s.First, 0
		}
		to, frames = s.Last, frames+s.Frames
	}
	flush()
}

package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

// What puts a host in doubt, and what ends it.
func TestDoubt(t *testing.T) {
	const most = 5 * time.Second
	two := []string{"h1", "h2"}
	for name, c := range map[string]struct {
		goesOn bool
		do     func(*doubt)
		in     bool
	}{
		"an agent starts":                  {do: func(d *doubt) { d.calls() }, in: true},
		"all answer":                       {do: func(d *doubt) { r := d.calls(); d.answered(r, "h1"); d.answered(r, "h2") }},
		"one does not":                     {do: func(d *doubt) { d.answered(d.calls(), "h1") }, in: true},
		"not for long":                     {do: func(d *doubt) { d.calls(); run(d, most) }},
		"nobody was called":                {do: func(d *doubt) { run(d, 2*most) }, in: true},
		"a former program went on":         {goesOn: true, do: func(d *doubt) {}},
		"a link that is gone for a moment": {goesOn: true, do: func(d *doubt) { d.linked(false); run(d, stall/2); d.linked(true) }},
		"a link that comes":                {goesOn: true, do: func(d *doubt) { d.linked(false); run(d, stall); d.linked(true); d.calls() }, in: true},
		"and is gone again": {goesOn: true, do: func(d *doubt) {
			d.linked(false)
			run(d, stall)
			d.linked(true)
			d.calls()
			d.linked(false)
			run(d, 2*most)
		}, in: true},
		"time without a link": {do: func(d *doubt) { d.linked(false); d.calls(); run(d, 2*most) }, in: true},
		"and then with it":    {do: func(d *doubt) { d.linked(false); run(d, 2*most); d.linked(true); d.calls() }, in: true},
		"for long enough":     {do: func(d *doubt) { d.linked(false); run(d, 2*most); d.linked(true); d.calls(); run(d, most) }},
		"it was stopped":      {goesOn: true, do: func(d *doubt) { time.Sleep(stall); d.calls() }, in: true},
		"for a moment":        {goesOn: true, do: func(d *doubt) { time.Sleep(stall - 1) }},
		"an answer of before": {goesOn: true, do: func(d *doubt) {
			r := d.calls()
			time.Sleep(stall)
			d.is()
			d.calls()
			d.answered(r, "h1")
			d.answered(r, "h2")
		}, in: true},
		"answers after return": {goesOn: true, do: func(d *doubt) { time.Sleep(stall); d.is(); r := d.calls(); d.answered(r, "h1"); d.answered(r, "h2") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rings := 0
				d := newDoubt(&fakeClock{began: time.Now()}, c.goesOn, func() { rings++ })
				c.do(d)
				d.is()
				if got := d.look(two, most); got != c.in {
					t.Errorf("in doubt: %v", got)
				}
				if c.goesOn && c.in && rings == 0 {
					t.Error("nobody is told to call the others")
				}
			})
		})
	}
}

// run lets time pass in which the host runs.
func run(d *doubt, long time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); {
		time.Sleep(tickEvery / 2)
		d.present()
	}
}

package health

import (
	"strings"
	"testing"
	"time"
)

// TestPulse plays results, one each second: "+" passed, "-" failed, "." nothing came, "x" all is forgotten. What it has come to
// after each is R, F or U.
func TestPulse(t *testing.T) {
	for _, tc := range []struct {
		name       string
		rise, fall int
		results    string
		states     string
	}{
		{"nothing", 1, 3, ".", "U"},
		{"the first pass", 1, 3, "+", "R"},
		{"rise", 3, 1, "+++", "UUR"},
		{"a failure before the rise", 3, 1, "++-+++", "UUFFFR"},
		{"a failure at first needs no fall", 1, 3, "-", "F"},
		{"fall", 1, 3, "+---", "RRRF"},
		{"a pass between", 1, 3, "+--+--+", "RRRRRRR"},
		{"recovers", 2, 2, "++--++", "URRFFR"},
		{"a failure while it rises again", 2, 1, "++-+-++", "URFFFFR"},
		{"goes stale", 1, 3, "+.....", "RRRRRU"}, // 1s + 0.5s, twice, and a second more
		{"a failing one goes stale too", 1, 1, "-.....", "FFFFFU"},
		{"counts anew afterwards", 2, 2, "++.....+", "URRRRRUU"},
		{"and rises anew", 2, 2, "++.....++", "URRRRRUUR"},
		{"forgets", 1, 3, "+x", "RU"},
		{"forgets and passes", 1, 3, "+x+", "RUR"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := Pulse{Rise: tc.rise, Fall: tc.fall, Interval: time.Second, Timeout: 500 * time.Millisecond}
			got := ""
			for i, r := range tc.results {
				now := time.Hour + time.Duration(i)*time.Second
				switch r {
				case '+':
					p.Result(now, "")
				case '-':
					p.Result(now, "refused")
				case 'x':
					p.Forget()
				}
				state, why := p.State(now)
				got += strings.ToUpper(string(state[0]))
				if (why == "") != (state == Ready) {
					t.Errorf("after %s it is %s because %q", tc.results[:i+1], state, why)
				}
			}
			if got != tc.states {
				t.Errorf("%s came to %s, want %s", tc.results, got, tc.states)
			}
		})
	}
}

// A failing check is asked again sooner, so that a service that comes up is found out soon; a passing one at its interval.
func TestPause(t *testing.T) {
	p := Pulse{Rise: 2, Fall: 3, Interval: time.Second, Timeout: time.Second}
	for i, step := range []struct {
		why  string
		want time.Duration
	}{
		{"no", 100 * time.Millisecond},
		{"no", 200 * time.Millisecond},
		{"no", 400 * time.Millisecond},
		{"no", 800 * time.Millisecond},
		{"no", time.Second},
		{"", time.Second},
		{"", time.Second},
		{"no", time.Second},
		{"no", time.Second},
		{"no", 400 * time.Millisecond},
	} {
		p.Result(time.Duration(i)*time.Second, step.why)
		if got := p.Pause(); got != step.want {
			t.Errorf("after result %d: %s, want %s", i, got, step.want)
		}
	}
}

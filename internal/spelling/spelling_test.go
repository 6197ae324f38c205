package spelling

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"web", "web", 0},
		{"web", "", 3},
		{"web", "wbe", 2}, // an exchange is two changes
		{"web", "wev", 1},
		{"web", "webs", 1},
		{"webs", "web", 1},
		{"kitten", "sitting", 3},
		{"abc", "xyz", 3},
		{"interface", "interfaces", 1},
	} {
		if got, back := Distance(c.a, c.b), Distance(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("%q and %q: %d and %d, want %d", c.a, c.b, got, back, c.want)
		}
	}
}

package idle

import (
	"testing"
	"time"
)

func clockTime(h, m int) time.Duration {
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
}

const weekdays Days = 0b0111110

func TestDays(t *testing.T) {
	for d, want := range map[Days]string{
		EveryDay: "", weekdays: "mon-fri", 0b1000001: "sat,sun", 0b0000001: "sun", 0b0001010: "mon,wed", 0b1110110: "mon,tue,thu-sat",
		0b1000011: "mon,sat,sun", 0b1110001: "thu-sun",
	} {
		if got := d.String(); got != want {
			t.Errorf("%07b is %q, want %q", d, got, want)
		}
	}
}

func TestSpans(t *testing.T) {
	// 2026-01-05 is a Monday.
	at := func(day, h, m int) time.Time { return time.Date(2026, 1, day, h, m, 0, 0, time.UTC) }
	office := Span{weekdays, clockTime(7, 0), clockTime(20, 0)}
	night := Span{1 << time.Friday, clockTime(22, 0), clockTime(6, 0)}
	always := Span{1 << time.Sunday, 0, 0}
	for _, c := range []struct {
		span Span
		at   time.Time
		want bool
	}{
		{office, at(5, 6, 59), false},
		{office, at(5, 7, 0), true},
		{office, at(5, 19, 59), true},
		{office, at(5, 20, 0), false},
		{office, at(4, 12, 0), false},
		{night, at(9, 21, 59), false},
		{night, at(9, 22, 0), true},
		{night, at(10, 5, 59), true},
		{night, at(10, 6, 0), false},
		{night, at(9, 5, 0), false},
		{night, at(10, 23, 0), false},
		{always, at(4, 0, 0), true},
		{always, at(4, 23, 59), true},
		{always, at(5, 0, 0), false},
		{always, at(3, 23, 59), false},
	} {
		if got := c.span.Has(c.at); got != c.want {
			t.Errorf("%v at %v: %v", c.span, c.at, got)
		}
	}
	if got := office.String() + ", " + night.String() + ", " + (Span{EveryDay, 0, clockTime(24, 0)}).String(); got != "mon-fri 07:00-20:00, fri 22:00-06:00, 00:00-24:00" {
		t.Error(got)
	}
}

// The host's own clock on the wall counts, also on the days on which it is changed.
func TestNext(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	early := Moment{weekdays, clockTime(6, 30)}
	late := Moment{1 << time.Sunday, clockTime(2, 30)}
	for _, c := range []struct {
		list []Moment
		at   string
		want string
	}{
		{nil, "2026-01-05T06:29:00", "0001-01-01T00:00:00"},
		{[]Moment{early}, "2026-01-05T06:29:59", "2026-01-05T06:30:00"},
		{[]Moment{early}, "2026-01-05T06:30:00", "2026-01-06T06:30:00"},
		{[]Moment{early}, "2026-01-09T07:00:00", "2026-01-12T06:30:00"},
		{[]Moment{late, early}, "2026-01-09T07:00:00", "2026-01-11T02:30:00"},
		{[]Moment{late}, "2026-01-11T02:30:00", "2026-01-18T02:30:00"},
		{[]Moment{late}, "2026-03-28T12:00:00", "2026-03-29T03:30:00"}, // 02:30 does not exist on that day
		{[]Moment{late}, "2026-10-24T12:00:00", "2026-10-25T02:30:00"},
	} {
		at, err := time.ParseInLocation("2006-01-02T15:04:05", c.at, berlin)
		if err != nil {
			t.Fatal(err)
		}
		if got := Next(c.list, at).Format("2006-01-02T15:04:05"); got != c.want {
			t.Errorf("after %s comes %s, want %s", c.at, got, c.want)
		}
	}
	if got := early.String(); got != "mon-fri 06:30" {
		t.Error(got)
	}
}

package idle

import (
	"fmt"
	"strings"
	"time"
)

// Days is a set of weekdays; bit 0 is Sunday, as in time.Weekday.
type Days uint8

// EveryDay is the whole week.
const EveryDay Days = 1<<7 - 1

// Has says whether a day is in the set.
func (d Days) Has(w time.Weekday) bool { return d&(1<<w) != 0 }

var dayNames = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// String lists the days as a person writes them, Monday first: "mon,tue", "mon-fri"; "" for all.
func (d Days) String() string {
	if d == EveryDay {
		return ""
	}
	var words []string
	for i := 1; i <= 7; i++ {
		end := i
		for end < 7 && d.Has(time.Weekday(i%7)) && d.Has(time.Weekday((end+1)%7)) {
			end++
		}
		switch {
		case !d.Has(time.Weekday(i % 7)):
		case end-i >= 2:
			words = append(words, dayNames[i%7]+"-"+dayNames[end%7])
			i = end
		default:
			words = append(words, dayNames[i%7])
		}
	}
	return strings.Join(words, ",")
}

// Span is a time of the week, by the clock on the wall. One whose end is not after its beginning ends on the next day.
type Span struct {
	Days     Days          // on which it begins
	From, To time.Duration // since midnight; To is not in it
}

// Has says whether t, in the time zone of this host, is in the span. By the clock on the wall: when the clocks change, a span becomes
// longer or shorter with the day.
func (p Span) Has(t time.Time) bool {
	at := sinceMidnight(t)
	if p.From < p.To {
		return p.Days.Has(t.Weekday()) && p.From <= at && at < p.To
	}
	return (p.Days.Has(t.Weekday()) && at >= p.From) || (p.Days.Has((t.Weekday()+6)%7) && at < p.To)
}

// String writes it as the configuration has it: "mon-fri 07:00-20:00".
func (p Span) String() string {
	return strings.TrimSpace(p.Days.String() + " " + clock(p.From) + "-" + clock(p.To))
}

// Moment is a time of the week at which the host is to wake.
type Moment struct {
	Days Days
	At   time.Duration // since midnight
}

// String writes it as the configuration has it: "mon-fri 06:30".
func (m Moment) String() string { return strings.TrimSpace(m.Days.String() + " " + clock(m.At)) }

// Next gives the first time after t at which one of the moments comes, in t's time zone; zero = never. A moment in the hour that is left
// out when the clocks change comes when that hour would have been over.
func Next(list []Moment, t time.Time) (next time.Time) {
	for _, m := range list {
		for day := range 8 {
			y, mon, d := t.AddDate(0, 0, day).Date()
			at := time.Date(y, mon, d, int(m.At/time.Hour), int(m.At/time.Minute)%60, 0, 0, t.Location())
			if m.Days.Has(time.Date(y, mon, d, 12, 0, 0, 0, t.Location()).Weekday()) && at.After(t) {
				if next.IsZero() || at.Before(next) {
					next = at
				}
				break
			}
		}
	}
	return next
}

func sinceMidnight(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", d/time.Hour, d/time.Minute%60)
}

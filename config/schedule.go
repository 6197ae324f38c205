package config

import (
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Days is a set of weekdays; bit 0 is Sunday.
type Days uint8

// Span is a time of the week at which a host stays awake; one that does not end after it begins ends on the next day.
type Span struct {
	Days     Days
	From, To time.Duration // since midnight
}

// Moment is a time of the week at which a host is to wake.
type Moment struct {
	Days Days
	At   time.Duration // since midnight
}

// daysAll is the whole week.
const daysAll Days = 1<<7 - 1

const spanHint = "write days and times like `mon-fri 07:00-20:00`, or times alone for each day"

// span reads "mon-fri 07:00-20:00".
func (r *reader) span(n ast.Node) (p Span, ok bool) {
	v := r.text(n, "days and times like mon-fri 07:00-20:00")
	if !v.set {
		return p, false
	}
	days, times := splitDays(v.v)
	from, to, both := strings.Cut(times, "-")
	var good [3]bool
	p.Days, good[0] = parseDays(days)
	p.From, good[1] = parseClock(from, 23)
	p.To, good[2] = parseClock(to, 24)
	if !both || good != [3]bool{true, true, true} {
		r.problem(v.at, "%q is no time of the week; %s", v.v, spanHint)
		return p, false
	}
	return p, true
}

// moment reads "mon-fri 06:30".
func (r *reader) moment(n ast.Node) (m Moment, ok bool) {
	v := r.text(n, "days and a time like mon-fri 06:30")
	if !v.set {
		return m, false
	}
	days, at := splitDays(v.v)
	var goodDays, goodTime bool
	m.Days, goodDays = parseDays(days)
	m.At, goodTime = parseClock(at, 23)
	if !goodDays || !goodTime {
		r.problem(v.at, "%q is no time of the week; write days and a time like `mon-fri 06:30`, or a time alone for each day", v.v)
		return m, false
	}
	return m, true
}

func splitDays(s string) (days, times string) {
	if i := strings.LastIndexByte(s, ' '); i >= 0 {
		return strings.TrimSpace(s[:i]), s[i+1:]
	}
	return "", s
}

var dayNumbers = map[string]int{"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}

// parseDays reads "mon-fri,sun"; "" is every day. A range may go over the end of the week.
func parseDays(s string) (Days, bool) {
	if s == "" {
		return daysAll, true
	}
	var out Days
	for _, part := range strings.Split(strings.ToLower(s), ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			last = first
		}
		a, ok1 := dayNumbers[first]
		b, ok2 := dayNumbers[last]
		if !ok1 || !ok2 {
			return 0, false
		}
		for d := a; ; d = (d + 1) % 7 {
			out |= 1 << d
			if d == b {
				break
			}
		}
	}
	return out, true
}

// parseClock reads "07:00"; 24:00 is the end of a day where the last hour is 24.
func parseClock(s string, lastHour uint64) (time.Duration, bool) {
	hour, minute, both := strings.Cut(s, ":")
	h, err := strconv.ParseUint(hour, 10, 8) // which takes no sign
	m, err2 := strconv.ParseUint(minute, 10, 8)
	if !both || err != nil || err2 != nil || len(minute) != 2 || len(hour) > 2 || h > lastHour || m > 59 || h == 24 && m != 0 {
		return 0, false
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute, true
}

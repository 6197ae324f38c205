package main

import (
	"strings"
	"unicode"
)

// Names and texts come from other hosts, from clients, from what web servers and programs say, and are shown to root at a terminal: what would
// steer that (an escape sequence moves the cursor, changes the title, in some types keys) is shown as "?" instead. JSON is for programs and
// stays as it is.

// plain gives a text for one line: tabs and newlines too would let it pretend to be another line or column.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case steers(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// plainLines gives a text of several lines, where these are meant.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}

// steers says whether a character means something to a terminal: C0, DEL and C1 (unicode.IsControl), or turns the direction of what follows.
func steers(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

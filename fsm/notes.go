package fsm

import "slices"

// NoteWake says in words what is known of a wake: what the kernel says that woke a host which nobody called, and what it did until it slept
// again. A later note takes the place of an earlier one. One for a record that is not there (any more) is left alone.
type NoteWake struct {
	ID   string `json:"id"`
	Note string `json:"note"`
}

func (NoteWake) kind() Kind { return KindNoteWake }

// NoteLimit is the length of a note in bytes.
const NoteLimit = 400

func noteWake(s *State, c NoteWake) (*State, Result) {
	if c.ID == "" || c.Note == "" || len(c.Note) > NoteLimit {
		return refuse(s, Invalid, "the note on wake %q has %d bytes: a note names its wake and has 1 to %d", c.ID, len(c.Note), NoteLimit)
	}
	i := slices.IndexFunc(s.Wakes, func(w Wake) bool { return w.ID == c.ID })
	if i < 0 || s.Wakes[i].Note == c.Note {
		return s, Result{}
	}
	next := *s
	next.Wakes = slices.Clone(s.Wakes)
	next.Wakes[i].Note = c.Note
	return &next, Result{}
}

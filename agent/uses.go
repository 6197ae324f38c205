package agent

import (
	"nightporter/idle"
)

// Uses tells what the connections of this host have carried.
type Uses interface {
	// Read lists those of its own sockets, those that have ended since the last question too. missed says that there were more of these
	// than anybody kept.
	Read() (all []idle.Conn, missed bool, err error)
	// Translated lists those that go on to containers, of which connection tracking alone knows. It takes its time where there are many.
	Translated() ([]idle.Conn, error)
	Close() error
}

// systemUses asks the kernel.
func systemUses() (Uses, error) {
	s, err := idle.OpenSockets()
	if err != nil {
		return nil, err
	}
	return everyUse{s}, nil
}

type everyUse struct{ *idle.Sockets }

// Translated implements Uses.
func (everyUse) Translated() ([]idle.Conn, error) { return idle.Translated() }

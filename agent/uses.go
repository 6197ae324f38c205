package agent

import (
	"nightporter/idle"
)

// Uses tells what the connections of this host have carried, those that have ended since the last question too. missed says that there
// were more of these than anybody kept.
type Uses interface {
	Read() (all []idle.Conn, missed bool, err error)
	Close() error
}

// systemUses asks the kernel.
func systemUses() (Uses, error) {
	s, err := idle.OpenSockets()
	if err != nil {
		return nil, err
	}
	return s, nil
}

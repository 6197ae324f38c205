package agent

import (
	"sync"

	"nightporter/internal/mutant"
)

// interlock ties the unit of a service to its identity on this host: the unit is not stopped from the moment at which a tenure begins
// until its fence is closed, and the guard is not taken off before the unit runs. A service that is given back at once, while its unit
// is on its way down, is thus held as a front holds it until the unit is up again. The tenant and the caretaker share it.
type interlock struct {
	mu      sync.Mutex
	managed bool // this host is a target, and the agent starts and stops the unit
	claimed bool // a tenure has begun, and is not over
	up      bool // the unit was started, and not stopped since
}

// manage says whether the unit is the agent's business.
func (l *interlock) manage(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.managed = is
}

// claim is the tenant's: a tenure begins, or its fence is closed.
func (l *interlock) claim(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claimed = is
}

// serves says whether nothing keeps clients from the program.
func (l *interlock) serves() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.managed || l.up || mutant.On(mutant.Unready) // breaks I5: it would hide most of that mutant
}

// stop is the caretaker's, before it stops the unit. False: there is a tenure.
func (l *interlock) stop() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.claimed {
		return false
	}
	l.up = false
	return true
}

// started is the caretaker's, or the next life's of a process that left an identity open.
func (l *interlock) started() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = true
}

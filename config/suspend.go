package config

// judgeSuspend refuses two ways to sleep in one place.
func (r *reader) judgeSuspend(h host) {
	if h.suspend.set && h.suspendCommand.set {
		r.problem(h.suspend.at, "suspend (line %d) and suspend_command (line %d) both say how the host sleeps; leave one of them out", h.suspend.at.line, h.suspendCommand.at.line)
	}
}

// suspendOf is how a host sleeps: what its own entry says goes before the top level, whichever of the two keys it has.
func suspendOf(f file, own host) (Suspend, []string) {
	for _, h := range []host{own, f.host} {
		switch {
		case h.suspendCommand.set:
			return SuspendOwn, h.suspendCommand.v
		case h.suspend.set:
			return h.suspend.v, h.suspend.v.command()
		}
	}
	return SuspendDefault, SuspendDefault.command()
}

// sleepNotes says why this host cannot sleep as its file has it. It is no problem of the file: what was suspended by hand may be what is
// in the way, logind may not be up yet, and a host that cannot sleep serves all the same.
func sleepNotes(c *Config, m *Machine) []string {
	if c.Power != Sleeps || c.Suspend == SuspendOwn || m.Sleeps == nil {
		return nil
	}
	if why := m.Sleeps(c.Suspend); why != "" {
		return []string{"this host is to sleep (power: sleeps) and stays awake: " + why}
	}
	return nil
}

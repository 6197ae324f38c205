package config

// judgeRoles finds what does not go with a witness. It must be awake to be of use, and there is none without others that hold.
func (r *reader) judgeRoles(f file) {
	if f.role.v == Witness {
		if len(f.nodes) > 0 {
			r.problem(f.role.at, "role at the top level would be the same for every host; write it under nodes")
		}
		if f.power.v == Sleeps {
			r.problem(f.role.at, "a witness is always on, and this host's power is sleeps; take one of the two out")
		}
	}
	witnesses := map[string]place{}
	for _, n := range f.nodes {
		if n.role.v != Witness {
			continue
		}
		witnesses[n.name.v] = n.role.at
		if first(n.power, f.power).v == Sleeps {
			r.problem(n.role.at, "a witness is always on, so that somebody is awake to vote; write `power: always-on` for %s, or take role out", n.name.v)
		}
	}
	if n := len(f.nodes); n > 0 && len(witnesses) == n {
		r.problem(f.nodes[0].role.at, "all hosts are witnesses, and none could hold a service; take role out of those that are to")
	}
	for _, s := range f.services {
		for _, t := range s.targets {
			if at, is := witnesses[t.v]; is {
				r.problem(t.at, "target %s is a witness (line %d), which holds no service; name another host", t.v, at.line)
			}
		}
	}
}

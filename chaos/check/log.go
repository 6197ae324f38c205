package check

import (
	"time"

	"nightporter/chaos/history"
)

// durable looks for what was acknowledged: an acknowledged move in the log, and in the end the last acknowledged word
// about a service or a setting, unless another one may have come after it.
func durable(h *history.History, d *docket) {
	for _, c := range h.Commands {
		if !c.Done {
			continue
		}
		switch c.Verb {
		case "move":
			d.judged++
			movedFor(h, c, d)
		case "apply", "delete":
			if !overtaken(h, c) {
				d.judged++
				definedFor(h, c, d)
			}
		case "set":
			if !overtaken(h, c) {
				d.judged++
				setFor(h, c, d)
			}
		}
	}
	if len(h.Ends) == 0 {
		d.blind = "no host was asked in the end"
	}
}

func movedFor(h *history.History, c history.Command, d *docket) {
	for _, r := range h.Records {
		if r.Service == c.Service && r.Epoch == c.Epoch {
			if r.To != c.Arg {
				d.find("%s: the move to %s under epoch %d was acknowledged at %s, and the log gives that epoch to %s", c.Service, c.Arg, c.Epoch, at(c.Ended), r.To)
			}
			return
		}
	}
	d.find("%s: the move to %s under epoch %d was acknowledged at %s, and the log has no such epoch", c.Service, c.Arg, c.Epoch, at(c.Ended))
}

// overtaken says whether another command about the same thing may have been carried out after this one.
func overtaken(h *history.History, c history.Command) bool {
	for _, o := range h.Commands {
		same := o.Service == c.Service && (o.Verb == "apply" || o.Verb == "delete")
		if c.Verb == "set" {
			same = o.Verb == "set"
		}
		if same && o != c && !o.Refused && (o.Ended.IsZero() || o.Ended.After(c.Began) || !o.Done) && o.Began.After(c.Began.Add(-time.Hour)) && !before(o, c) {
			return true
		}
	}
	return false
}

// before says whether a command certainly took effect before another began.
func before(o, c history.Command) bool { return o.Done && o.Ended.Before(c.Began) }

func definedFor(h *history.History, c history.Command, d *docket) {
	for _, e := range h.Ends {
		if e.Up && e.Member && contains(e.Defined, c.Service) != (c.Verb == "apply") {
			d.find("%s: %s was acknowledged at %s, and at the end %s has %v", c.Service, c.Verb, at(c.Ended), e.Host, e.Defined)
		}
	}
}

func setFor(h *history.History, c history.Command, d *docket) {
	want, err := time.ParseDuration(c.Arg)
	if err != nil {
		d.blind = "the setting " + c.Arg + " cannot be read"
		return
	}
	for _, e := range h.Ends {
		if e.Up && e.Member && e.Failover != want {
			d.find("failover %s was acknowledged at %s, and at the end %s has %s", c.Arg, at(c.Ended), e.Host, e.Failover)
		}
	}
}

// monotonic looks at the epochs: in the log, in what each agent said while it ran, and between hosts.
func monotonic(h *history.History, d *docket) {
	for _, c := range h.Contradictions {
		d.find("%s", c)
	}
	for i, r := range h.Records {
		d.judged++
		if i > 0 && h.Records[i-1].Service == r.Service {
			if p := h.Records[i-1]; r.Epoch <= p.Epoch || r.Index <= p.Index {
				d.find("%s: epoch %d (index %d) comes after epoch %d (index %d)", r.Service, r.Epoch, r.Index, p.Epoch, p.Index)
			}
		}
	}
	type life struct {
		host    string
		life    int
		service string
	}
	seen := map[life]uint64{}
	for _, s := range h.Samples {
		for service, epoch := range s.Epochs {
			k := life{s.Host, s.Life, service}
			if epoch < seen[k] {
				d.find("%s: %s said epoch %d at %s and had said %d before", service, s.Host, epoch, at(s.At), seen[k])
			}
			seen[k] = max(seen[k], epoch)
		}
	}
	if len(h.Records) == 0 {
		d.blind = "no host told its history"
	}
}

// closedDoor wants every agent alive that nobody ended.
func closedDoor(h *history.History, d *docket) {
	for _, f := range h.Faults {
		if f.Kind == history.Garbage {
			d.judged++
		}
	}
	for _, c := range h.Crashes {
		d.find("%s", c)
	}
	for _, e := range h.Exits {
		if !e.Excused {
			d.find("the agent of %s ended by itself at %s with status %d: %s", e.Host, at(e.At), e.Code, e.Why)
		}
	}
}

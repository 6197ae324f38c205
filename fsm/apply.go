package fsm

import (
	"encoding/hex"
	"maps"
	"strings"
	"time"
)

// Empty gives the state before the first command: no cluster, nothing defined.
func Empty() *State {
	return &State{
		Services:   map[string]Service{},
		Ownerships: map[string]Ownership{},
		Nodes:      map[string]Node{},
		History:    map[string][]Change{},
	}
}

// Apply carries out one command of the log at the given index. It is a pure function: the same state, index and
// command give the same result on every node, and s (nil is the empty state) is never changed. The state it returns
// shares with s what did not change; it is s itself when the command was refused or changed nothing.
func Apply(s *State, index uint64, c Command) (*State, Result) {
	if s == nil {
		s = Empty()
	}
	next, res := dispatch(s, index, c)
	if next != s {
		withEvents(s, next, index, c)
	}
	res.Index = index
	return next, res
}

func dispatch(s *State, index uint64, c Command) (*State, Result) {
	if c, ok := c.(Found); ok {
		return found(s, c)
	}
	if s.Cluster.ID == "" {
		return refuse(s, NotFounded, "the cluster is not founded yet: wait until bootstrap_expect nodes have met")
	}
	switch c := c.(type) {
	case PutNode:
		return putNode(s, c)
	case RemoveNode:
		return removeNode(s, c)
	case SetPower:
		return setPower(s, c)
	case PutService:
		return putService(s, c)
	case DeleteService:
		return deleteService(s, index, c)
	case Assign:
		return assign(s, index, c)
	case SetFailover:
		return setFailover(s, c)
	case BeginWake:
		return beginWake(s, c)
	case EndWake:
		return endWake(s, c)
	case NoteWake:
		return noteWake(s, c)
	case MeasureWake:
		return measureWake(s, c)
	case ReportFitness:
		return reportFitness(s, c)
	case BeginCanary:
		return beginCanary(s, c)
	case EndCanary:
		return endCanary(s, c)
	case JudgeFitness:
		return judgeFitness(s, c)
	case JudgeWake:
		return judgeWake(s, c)
	case SetInrush:
		return setInrush(s, c)
	case SetDrain:
		return setDrain(s, c)
	case LiftEpochs:
		return liftEpochs(s, index, c)
	}
	return refuse(s, Invalid, "a command of type %T cannot be applied: commands are values of the types in command.go", c)
}

func found(s *State, c Found) (*State, Result) {
	if s.Cluster.ID != "" {
		return refuse(s, AlreadyFounded, "the cluster is already founded: name %s, id %s", s.Cluster.Name, s.Cluster.ID)
	}
	if raw, err := hex.DecodeString(c.Cluster.ID); err != nil || len(raw) != 16 {
		return refuse(s, Invalid, "cluster id %q is not a 128-bit number in hex", c.Cluster.ID)
	}
	if c.Cluster.Name == "" {
		return refuse(s, Invalid, "the cluster has no name")
	}
	if why := failoverProblem(c.Failover); why != "" {
		return refuse(s, Invalid, "%s", why)
	}
	next := *s
	next.Cluster = c.Cluster
	next.Timing = Timing{Failover: c.Failover, Largest: c.Failover, Changed: c.Cluster.Created}
	next.Services = maps.Clone(s.Services)
	for _, sv := range c.Services {
		if _, twice := next.Services[sv.Name]; twice {
			return refuse(s, Invalid, "service %s is defined twice", sv.Name)
		}
		if problems := Validate(sv); len(problems) > 0 {
			return refuse(s, Invalid, "service %s: %s", sv.Name, strings.Join(problems, "; "))
		}
		if other, what := clash(&next, sv); other != "" {
			return refuse(s, AddressInUse, "service %s: %s already belongs to service %s", sv.Name, what, other)
		}
		next.Services[sv.Name] = cloneService(sv)
	}
	return &next, Result{}
}

// setFailover keeps Largest at what may still be in force, since a wait that is too short breaks I1 (a lease of the
// longer ttl may still run) while one that is too long only costs time. Proposers' clocks may differ: an At before
// the last change counts as a young change, and Changed never goes back.
func setFailover(s *State, c SetFailover) (*State, Result) {
	if why := failoverProblem(c.Failover); why != "" {
		return refuse(s, Invalid, "%s", why)
	}
	old := s.Timing
	inForce := old.Failover
	if c.At.Sub(old.Changed) < 2*old.Largest {
		inForce = old.Largest
	}
	next := *s
	next.Timing = Timing{Failover: c.Failover, Largest: max(c.Failover, inForce), Changed: c.At}
	if c.At.Before(old.Changed) {
		next.Timing.Changed = old.Changed
	}
	return &next, Result{}
}

func failoverProblem(d time.Duration) string {
	if d < FailoverMin || d > FailoverMax {
		return "failover " + d.String() + " is out of range: choose " + FailoverMin.String() + " to " + FailoverMax.String()
	}
	return ""
}

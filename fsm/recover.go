package fsm

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Recovery is what an operator did about the loss of the majority for good: the cluster From goes on as another one, without Lost.
type Recovery struct {
	From string    `json:"from"` // the ID of the cluster before
	At   time.Time `json:"at"`
	By   string    `json:"by"`   // the node whose state it goes on from
	Lost []string  `json:"lost"` // the nodes that were said to be gone for good, sorted
	// LostAt says where gossip of these was. They are called there for as long as they are no members: who comes back has to hear of the
	// recovery, and may not know where its cluster goes on. RemoveNode takes one out that somebody says will not come back, and one that was a
	// member again.
	LostAt map[string]netip.AddrPort `json:"lost_at,omitempty"`
	// Floor is the epoch above which services begin that are defined from then on: the lost nodes may have had one of that name.
	Floor uint64 `json:"floor"`
}

// ClusterRecovered is the reason of what a recovery took away: all services have no owner until the first leader gives them away.
const ClusterRecovered Reason = "cluster-recovered"

// RecoveriesLimit bounds what a cluster remembers of its recoveries: the first one, whose From all have in common that ever went on from it,
// and the last ones.
const RecoveriesLimit = 16

// generationBits is how many epochs there are in one generation: 16 million changes of owner of one service. A generation is a minute of
// the wall clock since generationZero, so the numbers stay below 2^53, which every reader of JSON can count to, for 800 years.
const generationBits = 24

var generationZero = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// LiftEpoch gives an epoch above all that a cluster may have used since it had epoch (I9): the next generation, or that of the wall clock,
// if that is higher. The nodes that are lost may have committed what this one never heard of, but not 16 million changes of owner.
func LiftEpoch(epoch uint64, at time.Time) (uint64, error) {
	gen := epoch>>generationBits + 1
	if m := int64(at.Sub(generationZero) / time.Minute); m > 0 {
		gen = max(gen, uint64(m))
	}
	if gen > 1<<(64-generationBits)-1 {
		return 0, fmt.Errorf("epoch %d cannot be lifted any more", epoch)
	}
	return gen << generationBits, nil
}

// Recover gives the state with which a cluster whose majority is lost goes on, as the cluster id: with r.By as its only node, all services
// without an owner, and every epoch lifted. It is no command, since nobody is there to commit one: it becomes the first snapshot of the
// new cluster, at the given index. key is that of r.By's record from then on: if its key was lost, the record would keep it out. s is not changed.
func Recover(s *State, index uint64, id, key string, r Recovery) (*State, error) {
	n, known := s.Nodes[r.By]
	raw, err := hex.DecodeString(id)
	switch {
	case s.Cluster.ID == "":
		return nil, errors.New("the state belongs to no cluster")
	case err != nil || len(raw) != 16 || id == s.Cluster.ID:
		return nil, fmt.Errorf("%q is not a new 128-bit number in hex", id)
	case !known:
		return nil, fmt.Errorf("%s is no member of the cluster in this state", r.By)
	}
	r.From, r.Lost, r.LostAt = s.Cluster.ID, nil, nil
	if r.Floor, err = LiftEpoch(s.floor(), r.At); err != nil {
		return nil, err
	}
	next := *s
	for _, name := range slices.Sorted(maps.Keys(s.Nodes)) {
		if name == r.By {
			continue
		}
		r.Lost = append(r.Lost, name)
		if at := s.Nodes[name].Gossip; at.IsValid() {
			if r.LostAt == nil {
				r.LostAt = make(map[string]netip.AddrPort)
			}
			r.LostAt[name] = at
		}
		forgetWakes(&next, name)
		forgetFitness(&next, name)
		forgetDrain(&next, name)
	}
	next.Cluster.ID, next.Recoveries = id, append(slices.Clone(s.Recoveries), r)
	if len(next.Recoveries) > RecoveriesLimit {
		next.Recoveries = slices.Delete(next.Recoveries, 1, 2)
	}
	n.Key = key
	n.Power, n.PowerReason, n.PowerSince = Awake, ClusterRecovered, r.At
	next.Nodes = map[string]Node{r.By: n}
	names := maps.Clone(s.Ownerships)
	for name := range s.Services {
		names[name] = s.Ownerships[name]
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if err := relieve(&next, index, name, r); err != nil {
			return nil, err
		}
	}
	if s.Events != nil {
		list := []Event{{Kind: EventCluster, What: Salvaged, Node: r.By, Detail: strings.Join(r.Lost, ", ")}}
		list = append(list, eventsOf(s, &next, nil)...)
		for i := range list {
			list[i].Index, list[i].At, list[i].By = index, r.At, r.By
			if list[i].What == Removed {
				list[i].Reason = ClusterRecovered
			}
		}
		next.Events = s.Events.with(list)
	}
	return &next, nil
}

// relieve takes a service, or what is left of a deleted one, from whoever had it, and lifts its epoch.
func relieve(s *State, index uint64, service string, r Recovery) error {
	own := s.Ownerships[service]
	lifted, err := LiftEpoch(own.Epoch, r.At)
	if err != nil {
		return fmt.Errorf("service %s: %w", service, err)
	}
	lifted = max(lifted, r.Floor)
	detail := "a recovery without " + strings.Join(r.Lost, ", ")
	*s = *risen(s, index, service, Ownership{Owner: "", Reason: ClusterRecovered, Since: r.At, By: r.By}, detail, lifted)
	return nil
}

// floor is the epoch above which new services begin: that of the last recovery, or of a lift since.
func (s *State) floor() uint64 {
	if s.Lifted != nil {
		return max(s.recovered(), s.Lifted.Floor)
	}
	return s.recovered()
}

// recovered is the floor of the last recovery.
func (s *State) recovered() uint64 {
	if len(s.Recoveries) == 0 {
		return 0
	}
	return s.Recoveries[len(s.Recoveries)-1].Floor
}

// Generation rises with each recovery, and from one recovery of a cluster to a later one of the same cluster, as far as clocks are right; 0 = there
// was none. A lift by a restore is none: it says nothing about which of two clusters goes on.
func (s *State) Generation() uint64 { return s.recovered() >> generationBits }

// Missing says where the nodes may be that were lost in recoveries and have not come back as members, by name.
func (s *State) Missing() map[string]netip.AddrPort {
	out := make(map[string]netip.AddrPort)
	for _, r := range s.Recoveries {
		for name, at := range r.LostAt {
			if _, member := s.Nodes[name]; !member {
				out[name] = at
			}
		}
	}
	return out
}

// forgetLost ends the search for a node that was lost in a recovery, in a state that nobody else has yet. That it was lost stays known: it is let in
// only when gossip has told which cluster it is of.
func forgetLost(s *State, node string) (was bool) {
	for i, r := range s.Recoveries {
		if _, is := r.LostAt[node]; !is {
			continue
		}
		if !was {
			s.Recoveries = slices.Clone(s.Recoveries)
		}
		was = true
		at := maps.Clone(r.LostAt)
		if delete(at, node); len(at) == 0 {
			at = nil
		}
		s.Recoveries[i].LostAt = at
	}
	return was
}

// Recovered finds the recovery by which this cluster goes on from the one with the ID, which may stand for it by its first digits.
func (s *State) Recovered(from string) (Recovery, bool) {
	if from == "" {
		return Recovery{}, false
	}
	i := slices.IndexFunc(s.Recoveries, func(r Recovery) bool { return strings.HasPrefix(r.From, from) })
	if i < 0 {
		return Recovery{}, false
	}
	return s.Recoveries[i], true
}

// EncodeSnapshot gives the bytes of a snapshot whose last entry has the index, as Raft keeps it.
func EncodeSnapshot(index uint64, s *State) ([]byte, error) { return encodeSnapshot(index, s) }

package fsm

import (
	"encoding/hex"
	"maps"
	"slices"
	"time"
)

// KindLiftEpochs is the kind of LiftEpochs.
const KindLiftEpochs Kind = 31

// LiftEpochs lifts the epochs of all services, and the one above which new ones begin, to Floor: definitions of another cluster are about to be
// restored from a backup, and nobody knows what that one has used since (I9). Whoever owns a service keeps it, under the new epoch. It is refused
// where an epoch is not below Floor: the proposer looks again (Above). Lifted already, it changes nothing.
type LiftEpochs struct {
	From  string    `json:"from"` // the ID of the cluster that the backup is of
	Floor uint64    `json:"floor"`
	At    time.Time `json:"at"`
	By    string    `json:"by"`
}

func (LiftEpochs) kind() Kind { return KindLiftEpochs }

// Lift is the last LiftEpochs that was done.
type Lift struct {
	From  string    `json:"from"`
	Floor uint64    `json:"floor"`
	At    time.Time `json:"at"`
}

// EpochsLifted is the reason of a new epoch of the same owner, in the history: a backup of another cluster was restored.
const EpochsLifted Reason = "epochs-lifted"

func liftEpochs(s *State, index uint64, c LiftEpochs) (*State, Result) {
	raw, err := hex.DecodeString(c.From)
	switch {
	case err != nil || len(raw) != 16:
		return refuse(s, Invalid, "%q is not the ID of a cluster", c.From)
	case c.Floor == 0 || c.Floor&(1<<generationBits-1) != 0:
		return refuse(s, Invalid, "no generation begins with epoch %d", c.Floor)
	case c.Floor <= s.floor():
		return s, Result{Effect: Unchanged}
	case c.Floor <= s.Above():
		return refuse(s, StaleEpoch, "the epochs cannot be lifted to %d: one is %d already: look again", c.Floor, s.Above())
	}
	next := *s
	next.Lifted = &Lift{From: c.From, Floor: c.Floor, At: c.At}
	next.Ownerships = maps.Clone(s.Ownerships)
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		own := s.Ownerships[name]
		if own.Owner != "" {
			next = *risen(&next, index, name, Ownership{Owner: own.Owner, Reason: EpochsLifted, Since: c.At, By: c.By}, "", c.Floor)
			own.Epoch = c.Floor // the history tells of the lift; why its owner has it, and since when, is as it was: the plan goes by it
			next.Ownerships[name] = own
			continue
		}
		if own.Epoch == 0 {
			own = Ownership{Reason: FirstOwner, Since: c.At, By: c.By}
		}
		own.Epoch = c.Floor
		next.Ownerships[name] = own
	}
	return &next, Result{Effect: Changed}
}

// risen begins a new tenure under a lifted epoch.
func risen(s *State, index uint64, service string, own Ownership, detail string, epoch uint64) *State {
	next := tenure(s, index, service, own, detail)
	own = next.Ownerships[service] // of a map that tenure has just made
	own.Epoch = epoch
	next.Ownerships[service] = own
	h := slices.Clone(next.History[service])
	h[len(h)-1].Epoch = epoch
	next.History[service] = h
	return next
}

// Above gives an epoch that none has passed that this cluster knows of, deleted services included.
func (s *State) Above() uint64 {
	most := s.floor()
	for _, own := range s.Ownerships {
		most = max(most, own.Epoch)
	}
	return most
}

// MustLift says whether epochs are to be lifted before definitions are restored from a backup of the cluster with the ID from, whose epochs went up
// to above. Within one cluster none ever goes back, unless all its hosts were: the backup then has a higher one than is known. A recovery and a lift
// for the same cluster begin above all that it had; a backup that comes up to there is from after that, or from after a lift that the recovered host
// never had.
func (s *State) MustLift(from string, above uint64) bool {
	switch {
	case from == s.Cluster.ID:
		return above > s.Above()
	case slices.ContainsFunc(s.Recoveries, func(r Recovery) bool { return r.From == from }), s.Lifted != nil && s.Lifted.From == from:
		return above >= s.floor()
	}
	return true
}

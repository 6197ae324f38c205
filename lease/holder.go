package lease

import (
	"maps"
	"time"

	"nightporter/internal/mutant"
)

// Quorum is a Raft configuration that the holder's host has applied: its log index and its voters.
type Quorum struct {
	Config uint64
	Voters []string
}

// Holder is one node's side of the lease of one service, for one incarnation of its daemon. It is not safe for
// concurrent use: the caller holds one lock around Answer and setting the fence's deadline, and around closing the
// fence and Release, so that no answer can reopen what was released.
type Holder struct {
	service, node string
	incarnation   uint64
	seq           uint64   // shared by requests and releases; only rises
	asked         uint64   // highest epoch ever asked for or adopted
	floor         uint64   // highest epoch released: it and all below are over for this incarnation
	round         *round   // nil: no answer counts
	released      *Release // the last release, until a newer epoch is asked for
	acks          map[string]bool
}

// round is one asking of all voters.
type round struct {
	epoch, seq uint64
	voters     map[string]bool // in the configuration that the round named
	need       int
	deadline   Boot
	granted    map[string]bool
	refused    map[string]Answer
}

// NewHolder starts a holder that has asked for nothing. The incarnation must be higher than that of any daemon that ever
// ran on this node: a counter synced to disk before the first request and never below the wall clock.
func NewHolder(service, node string, incarnation uint64) *Holder {
	return &Holder{service: service, node: node, incarnation: incarnation}
}

// Begin starts a new round at now, the instant from which the lease counts, read before anything is sent; answers to older
// rounds no longer count. The request goes to every voter of q, a configuration this host has applied. False: the epoch
// was released, is below one asked for or adopted before, the quorum is empty, or nothing of the ttl is left.
func (h *Holder) Begin(now Boot, epoch uint64, q Quorum, ttl, margin time.Duration, prior *Release) (Request, bool) {
	if epoch <= h.floor || epoch < h.asked || len(q.Voters) == 0 || margin < 0 || ttl <= margin {
		return Request{}, false
	}
	if epoch > h.asked {
		h.released, h.acks = nil, nil
	}
	h.seq++
	h.asked = epoch
	voters := make(map[string]bool, len(q.Voters))
	for _, v := range q.Voters {
		voters[v] = true
	}
	h.round = &round{
		epoch: epoch, seq: h.seq, voters: voters, need: len(voters)/2 + 1, deadline: now.Add(ttl - margin),
		granted: make(map[string]bool, len(voters)), refused: map[string]Answer{},
	}
	return Request{
		Service: h.service, Epoch: epoch, Node: h.node, Incarnation: h.incarnation, Seq: h.seq,
		Config: q.Config, TTL: ttl, Prior: prior,
	}, true
}

// Answer takes one voter's answer. It is true exactly when this answer completes a majority of the current round; the
// fence may then stay open until deadline on this host's CLOCK_BOOTTIME (which may be past already: then it stays shut).
func (h *Holder) Answer(a Answer) (deadline Boot, ok bool) {
	r := h.round
	if r == nil || a.Service != h.service || a.Node != h.node || a.Incarnation != h.incarnation ||
		a.Epoch != r.epoch || a.Seq != r.seq || !r.voters[a.Voter] || r.granted[a.Voter] {
		return 0, false
	}
	if a.Refusal != Granted {
		r.refused[a.Voter] = a
		return 0, false
	}
	delete(r.refused, a.Voter)
	r.granted[a.Voter] = true
	if len(r.granted) != r.need {
		return 0, false
	}
	return r.deadline, true
}

// Refused gives the refusals of the current round by voter.
func (h *Holder) Refused() map[string]Answer {
	if h.round == nil {
		return map[string]Answer{}
	}
	return maps.Clone(h.round.refused)
}

// Abandon drops the current round: no answer to it counts any more. To be called when this host's CLOCK_BOOTTIME can no
// longer be compared with the instant of the last Begin, that is after a suspend (the fence is closed then, too).
func (h *Holder) Abandon() { h.round = nil }

// FellBehind says that this host's CLOCK_BOOTTIME lost d since the last such call or since Begin (Ruler): on it the lease ends that much
// earlier. To be called before an answer is handed in.
func (h *Holder) FellBehind(d time.Duration) {
	if h.round != nil {
		h.round.deadline = h.round.deadline.Add(-max(d, 0))
	}
}

// Release gives up the epoch that was asked for last. The fence must be closed already. From here on neither that epoch
// nor a lower one is ever asked for or accepted by this incarnation. The release goes to all voters and with the hint to
// the new owner; called again, it gives the same release. False: nothing was ever asked for.
func (h *Holder) Release() (Release, bool) {
	if !mutant.On(mutant.LateAnswer) { // breaks I1 where the caller trusts in it
		h.round = nil
	}
	if h.asked == 0 {
		return Release{}, false
	}
	if h.released == nil {
		h.seq++
		h.released = &Release{
			Service: h.service, Epoch: h.asked, Node: h.node, Incarnation: h.incarnation, Seq: h.seq,
		}
		h.acks = map[string]bool{}
	}
	h.floor = max(h.floor, h.asked)
	return *h.released, true
}

// Acked takes a voter's acknowledgement of the last release. It is true when all of voters have acknowledged it, so that
// it need not be sent again.
func (h *Holder) Acked(a Ack, voters []string) bool {
	r := h.released
	if r == nil {
		return false
	}
	if a.Service == r.Service && a.Node == r.Node && a.Epoch == r.Epoch && a.Incarnation == r.Incarnation && a.Seq == r.Seq {
		h.acks[a.Voter] = true
	}
	for _, v := range voters {
		if !h.acks[v] {
			return false
		}
	}
	return true
}

// Adopt says that a fence that an earlier incarnation opened under this epoch is found and not closed. It counts as asked for by this
// incarnation: the next Release covers it (a voter's entry of an earlier incarnation is cleared by a later one's release), and
// nothing lower is ever asked for, although the applied state may be behind it. It can be renewed like any other.
func (h *Holder) Adopt(epoch uint64) {
	h.round = nil
	if epoch > h.asked {
		h.asked, h.released, h.acks = epoch, nil, nil
	}
}

// marginParts: the margin is a 25th of the ttl, 4 %.
const marginParts = 25

// Margin is what a holder keeps back of a ttl because its clock and the voters' clocks run at different rates: 4 %,
// rounded up. It covers a holder that is slow and a voter that is fast by together 4 % (quartz: 0.01 %; adjtime slewing
// at its limit: 0.05 %). Clocks are bent by more than that (ADJ_TICK: 10 %); what a Ruler sees of it is left out on both sides.
func Margin(ttl time.Duration) time.Duration {
	return (ttl + marginParts - 1) / marginParts
}

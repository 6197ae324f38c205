package fsm

import "slices"

// Verdict says what a wake was good for.
type Verdict string

// The verdicts. "" = not known yet, or the wake was no client's.
const (
	Useful   Verdict = "useful"   // the client's connection completed, and the client said something on it
	Spurious Verdict = "spurious" // it did not, within the time after the target served
	Unknown  Verdict = "unknown"  // nobody can tell: datagrams, another host served
	Failed   Verdict = "failed"   // the host did not wake
)

// JudgeWake says what a wake was good for. One that is unknown or judged is left alone, so that a proposal of unknown fate can be repeated.
type JudgeWake struct {
	ID      string  `json:"id"`
	Verdict Verdict `json:"verdict"`
	By      string  `json:"by"`
}

func (JudgeWake) kind() Kind { return KindJudgeWake }

func judgeWake(s *State, c JudgeWake) (*State, Result) {
	switch c.Verdict {
	case Useful, Spurious, Unknown:
	default:
		return refuse(s, Invalid, "%q is no verdict about a wake: it is %s, %s or %s", c.Verdict, Useful, Spurious, Unknown)
	}
	i := slices.IndexFunc(s.Wakes, func(w Wake) bool { return w.ID == c.ID })
	if i < 0 || s.Wakes[i].Verdict != "" {
		return s, Result{}
	}
	next := *s
	next.Wakes = slices.Clone(s.Wakes)
	next.Wakes[i].Verdict = c.Verdict
	next.Ledger = recount(&next, s.Wakes[i], c.Verdict)
	return &next, Result{}
}

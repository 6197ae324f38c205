package fsm

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Fitness is what the cluster knows of whether a node that sleeps can be woken: what the node says of itself, what its last canary came
// to, and what was held against it since. It has nothing to do with whether the node could hold a service.
type Fitness struct {
	Report FitReport `json:"report"`
	Canary Canary    `json:"canary,omitzero"` // the last one, or the one under way
	// Print is the fingerprint under which the node was last woken from a canary, or was accepted without one; "" = never.
	Print   string     `json:"print,omitempty"`
	Since   time.Time  `json:"since,omitzero"`   // of Print
	Revoked Revocation `json:"revoked,omitzero"` // what ended that; zero = nothing
	Failed  int        `json:"failed,omitempty"` // canaries in a row that failed
}

// FitReport is what a node says of itself.
type FitReport struct {
	Canary CanaryMode `json:"canary"`
	Idle   bool       `json:"idle"` // it goes to sleep by itself, and so can be put through a canary by itself
	WoL    WoL        `json:"wol"`
	Why    string     `json:"why,omitempty"` // why its cards are not armed, a sentence
	Wake   []MAC      `json:"wake"`          // the addresses that its cards have now
	// Password is the SecureOn password of its cards, "" = none. It goes over the wire in clear text: it is no secret.
	Password MAC     `json:"password,omitempty"`
	Traits   []Trait `json:"traits"` // of what its waking depends on, by name
}

// Trait is one thing that the waking of a node depends on: its kernel, a card with its driver, the suspend command.
type Trait struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// CanaryMode says who has a node show that it can be woken.
type CanaryMode string

// The modes.
const (
	CanaryAuto   CanaryMode = "auto"   // the cluster does, when the node is idle
	CanaryManual CanaryMode = "manual" // an operator does
	CanaryOff    CanaryMode = "off"    // nobody: it may sleep all the same
)

// WoL says how the Wake-on-LAN setting of a node's cards is.
type WoL string

// The settings.
const (
	WoLArmed   WoL = "armed"
	WoLAssumed WoL = "assumed" // nobody looks: the configuration says that something wakes it
	WoLUnarmed WoL = "unarmed" // and could not be armed
)

// Canary is one supervised sleep and wake of a node. Where it stands between its two ends is told by the node's power.
type Canary struct {
	ID     string    `json:"id"`             // also of the wake that ends it
	Sleeps uint64    `json:"sleeps"`         // of the node, when it began
	Auto   bool      `json:"auto,omitempty"` // nobody asked for it
	By     string    `json:"by"`             // the node that proposed it
	Began  time.Time `json:"began"`          // stamped by the proposer
	Ended  time.Time `json:"ended,omitzero"`
	Result Reason    `json:"result,omitempty"` // canary-passed, canary-failed, canary-called-off; "" = under way
	Detail string    `json:"detail,omitempty"`
	Phases Phases    `json:"phases,omitzero"` // of the wake
}

// Running says whether it is under way.
func (c Canary) Running() bool { return c.ID != "" && c.Result == "" }

// Revocation is why a node that was fit to be woken is not any more.
type Revocation struct {
	Reason Reason    `json:"reason,omitempty"` // fit-drifted, wake-failed, canary-failed
	Detail string    `json:"detail,omitempty"` // a sentence
	At     time.Time `json:"at,omitzero"`
	Sleeps uint64    `json:"sleeps,omitempty"` // of the node, then
}

// Bounds of a report. Encode bounds the whole.
const (
	MaxTraits   = 32
	maxTrait    = 256
	maxWakeMACs = 32
	maxSentence = 600
)

// Reasons of the fitness to be woken.
const (
	CanarySleep     Reason = "canary"            // the reason of a sleep and of the wake from it
	CanaryPassed    Reason = "canary-passed"     // it slept, was called and came back
	CanaryFailed    Reason = "canary-failed"     // it did not come back, or did not sleep
	CanaryCalledOff Reason = "canary-called-off" // it was not to be: somebody needed the node, or it was refused
	CanaryAccepted  Reason = "canary-accepted"   // an operator says that it can be woken
	FitDrifted      Reason = "fit-drifted"       // what its waking depends on has changed
	WakeFailed      Reason = "wake-failed"       // it was called and did not come
)

// ReportFitness is a node's word about itself. Another fingerprint than the one of its canary ends what that was good for.
type ReportFitness struct {
	Node   string    `json:"node"`
	Report FitReport `json:"report"`
	At     time.Time `json:"at"`
}

// BeginCanary has a node shown to be able to wake. It is refused while one is under way anywhere: two at a time would be two hosts that
// may not come back. A second one of the same ID is left alone, so that a proposal of unknown fate can be repeated.
type BeginCanary struct {
	Node string    `json:"node"`
	ID   string    `json:"id"`
	Auto bool      `json:"auto,omitempty"`
	At   time.Time `json:"at"`
	By   string    `json:"by"`
}

// EndCanary says what it came to. One of another ID, or of one that has ended, is left alone.
type EndCanary struct {
	Node   string    `json:"node"`
	ID     string    `json:"id"`
	Result Reason    `json:"result"`
	Detail string    `json:"detail,omitempty"`
	Phases Phases    `json:"phases,omitzero"`
	At     time.Time `json:"at"`
}

// JudgeFitness is what somebody else has to say: that the node was called in vain in that sleep (wake-failed), or, an operator, that it
// is fit as it is (canary-accepted).
type JudgeFitness struct {
	Node   string    `json:"node"`
	Reason Reason    `json:"reason"`
	Sleeps uint64    `json:"sleeps"`
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
}

func (ReportFitness) kind() Kind { return KindReportFitness }
func (BeginCanary) kind() Kind   { return KindBeginCanary }
func (EndCanary) kind() Kind     { return KindEndCanary }
func (JudgeFitness) kind() Kind  { return KindJudgeFitness }

// Fingerprint sums up the traits, 16 hex digits.
func (r FitReport) Fingerprint() string {
	h := sha256.New()
	for _, t := range r.Traits {
		fmt.Fprintf(h, "%q=%q\n", t.Name, t.Value)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Equal says whether two reports say the same.
func (r FitReport) Equal(o FitReport) bool {
	return r.Canary == o.Canary && r.Idle == o.Idle && r.WoL == o.WoL && r.Why == o.Why && r.Password == o.Password &&
		slices.Equal(r.Wake, o.Wake) && slices.Equal(r.Traits, o.Traits)
}

// drift says in words what is otherwise now: "kernel is 6.12 and was 6.1".
func drift(before, now []Trait) string {
	var words []string
	value := func(list []Trait, name string) string {
		if i := slices.IndexFunc(list, func(t Trait) bool { return t.Name == name }); i >= 0 {
			return list[i].Value
		}
		return ""
	}
	for _, t := range now {
		switch was := value(before, t.Name); was {
		case t.Value:
		case "":
			words = append(words, fmt.Sprintf("%s is new: %s", t.Name, t.Value))
		default:
			words = append(words, fmt.Sprintf("%s is %s and was %s", t.Name, t.Value, was))
		}
	}
	for _, t := range before {
		if value(now, t.Name) == "" {
			words = append(words, fmt.Sprintf("%s is gone: %s", t.Name, t.Value))
		}
	}
	return clip(strings.Join(words, "; "))
}

// clip bounds a sentence that is stored.
func clip(s string) string {
	if len(s) <= maxSentence {
		return s
	}
	n := maxSentence
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func reportFitness(s *State, c ReportFitness) (*State, Result) {
	if why := reportProblem(c.Report); why != "" {
		return refuse(s, Invalid, "node %s: %s", c.Node, why)
	}
	if !hasNode(s, c.Node) {
		return refuse(s, UnknownNode, "there is no node %q that could say anything", c.Node)
	}
	f, known := s.Fitness[c.Node]
	if known && f.Report.Equal(c.Report) {
		return s, Result{}
	}
	before := f.Report
	f.Report = c.Report
	f.Report.Wake, f.Report.Traits = slices.Clone(c.Report.Wake), slices.Clone(c.Report.Traits)
	if f.Print != "" && f.Revoked.Reason == "" && f.Print != c.Report.Fingerprint() {
		f.Revoked = Revocation{Reason: FitDrifted, Detail: cmp.Or(drift(before.Traits, c.Report.Traits), "its fingerprint is another one"), At: c.At, Sleeps: s.Nodes[c.Node].Sleeps}
	}
	return withFitness(s, c.Node, f), Result{}
}

func reportProblem(r FitReport) string {
	switch {
	case !slices.Contains([]CanaryMode{CanaryAuto, CanaryManual, CanaryOff}, r.Canary):
		return fmt.Sprintf("there is no canary %q: it is auto, manual or off", r.Canary)
	case !slices.Contains([]WoL{WoLArmed, WoLAssumed, WoLUnarmed}, r.WoL):
		return fmt.Sprintf("there is no Wake-on-LAN setting %q: it is armed, assumed or unarmed", r.WoL)
	case len(r.Password) != 0 && len(r.Password) != 6:
		return fmt.Sprintf("a SecureOn password has 6 bytes, not %d", len(r.Password))
	case len(r.Why) > maxSentence:
		return fmt.Sprintf("its sentence has %d bytes, more than %d", len(r.Why), maxSentence)
	case len(r.Wake) > maxWakeMACs:
		return fmt.Sprintf("it has %d wake addresses, more than %d", len(r.Wake), maxWakeMACs)
	case len(r.Traits) > MaxTraits:
		return fmt.Sprintf("it has %d traits, more than %d", len(r.Traits), MaxTraits)
	}
	for i, t := range r.Traits {
		switch {
		case t.Name == "" || len(t.Name)+len(t.Value) > maxTrait:
			return fmt.Sprintf("trait %q has no name, or more than %d bytes", t.Name, maxTrait)
		case i > 0 && r.Traits[i-1].Name >= t.Name:
			return fmt.Sprintf("trait %q does not stand in the order of the names", t.Name)
		}
	}
	return ""
}

func beginCanary(s *State, c BeginCanary) (*State, Result) {
	n, known := s.Nodes[c.Node]
	f := s.Fitness[c.Node]
	switch {
	case c.ID == "":
		return refuse(s, Invalid, "the canary of %s has no ID", c.Node)
	case !known:
		return refuse(s, UnknownNode, "there is no node %q", c.Node)
	case f.Canary.ID == c.ID:
		return s, Result{}
	case n.Policy != Sleeps:
		return refuse(s, NeverSleeps, "node %s is %s: set its power to %q in the configuration if it may sleep", c.Node, n.Policy, Sleeps)
	case n.Power != Awake:
		return refuse(s, WrongPower, "node %s is %s: a canary begins with a node that is awake", c.Node, n.Power)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Fitness)) {
		if s.Fitness[name].Canary.Running() {
			return refuse(s, CanaryRunning, "the canary of %s is under way, and there is one at a time: wait for its end", name)
		}
	}
	f.Canary = Canary{ID: c.ID, Sleeps: n.Sleeps, Auto: c.Auto, By: c.By, Began: c.At}
	return withFitness(s, c.Node, f), Result{}
}

func endCanary(s *State, c EndCanary) (*State, Result) {
	f, known := s.Fitness[c.Node]
	switch {
	case !slices.Contains([]Reason{CanaryPassed, CanaryFailed, CanaryCalledOff}, c.Result):
		return refuse(s, Invalid, "a canary cannot end with %q", c.Result)
	case !hasNode(s, c.Node):
		return refuse(s, UnknownNode, "there is no node %q", c.Node)
	case !known || f.Canary.ID != c.ID || !f.Canary.Running():
		return s, Result{}
	}
	f.Canary.Ended, f.Canary.Result, f.Canary.Detail, f.Canary.Phases = c.At, c.Result, clip(c.Detail), c.Phases
	switch c.Result {
	case CanaryPassed:
		f.Print, f.Since, f.Revoked, f.Failed = f.Report.Fingerprint(), c.At, Revocation{}, 0
	case CanaryFailed:
		f.Revoked = Revocation{Reason: CanaryFailed, Detail: clip(c.Detail), At: c.At, Sleeps: s.Nodes[c.Node].Sleeps}
		f.Failed++
	}
	return withFitness(s, c.Node, f), Result{}
}

func judgeFitness(s *State, c JudgeFitness) (*State, Result) {
	n, known := s.Nodes[c.Node]
	f, told := s.Fitness[c.Node]
	switch {
	case !known:
		return refuse(s, UnknownNode, "there is no node %q", c.Node)
	case c.Reason == WakeFailed && n.Sleeps != c.Sleeps:
		return refuse(s, WrongPower, "node %s is in sleep %d, not in sleep %d, in which it did not wake", c.Node, n.Sleeps, c.Sleeps)
	case c.Reason == WakeFailed && f.Revoked.Sleeps == c.Sleeps && (f.Revoked.Reason == WakeFailed || f.Revoked.Reason == CanaryFailed):
		return s, Result{} // said already
	case c.Reason == WakeFailed:
		f.Revoked = Revocation{Reason: WakeFailed, Detail: clip(c.Detail), At: c.At, Sleeps: c.Sleeps}
	case c.Reason == CanaryAccepted && !told:
		return refuse(s, Invalid, "node %s has not said yet what its waking depends on: there is nothing to accept", c.Node)
	case c.Reason == CanaryAccepted:
		f.Print, f.Since, f.Revoked, f.Failed = f.Report.Fingerprint(), c.At, Revocation{}, 0
	default:
		return refuse(s, Invalid, "%q says nothing of whether a node can be woken", c.Reason)
	}
	return withFitness(s, c.Node, f), Result{}
}

func withFitness(s *State, node string, f Fitness) *State {
	next := *s
	next.Fitness = maps.Clone(s.Fitness)
	if next.Fitness == nil {
		next.Fitness = make(map[string]Fitness)
	}
	next.Fitness[node] = f
	return &next
}

// forgetFitness drops what is known of a node that is forgotten.
func forgetFitness(s *State, node string) {
	if _, has := s.Fitness[node]; has {
		s.Fitness = maps.Clone(s.Fitness)
		delete(s.Fitness, node)
	}
}

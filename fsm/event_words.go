package fsm

import (
	"cmp"
	"fmt"
	"strings"
)

// reasonWords say a reason as the end of a sentence that begins with "because". One that is not among them stands for itself.
var reasonWords = map[Reason]string{
	FirstOwner:      "it had no owner yet",
	OwnerFailed:     "its owner's lease ran out, and it gave no sign of life",
	OwnerLeft:       "its owner left the cluster or was forgotten",
	OwnerSleeps:     "its owner was about to sleep",
	OwnerDrained:    "its owner was shutting down, or is in maintenance",
	OwnerUnfit:      "its owner said that it cannot hold it",
	OwnerAsleep:     "its owner turned out to be asleep",
	TargetReady:     "a target came up and took it back",
	BetterTarget:    "a target that comes earlier in the list is ready",
	OperatorMoved:   "somebody moved it with `nightporter move`",
	ServiceDeleted:  "it was deleted",
	ServiceChanged:  "its definition was changed",
	ForeignHolder:   "a host outside the cluster answers for its address",
	NobodyAvailable: "no host that is awake could take it",
	CheckFailed:     "its checks failed on its owner",
	CheckPassed:     "its checks pass again on a target",
	DrainEnded:      "it had no owner since a forced drain",

	ClusterRecovered: "the cluster was recovered after the loss of its majority",
	EpochsLifted:     "a backup of another cluster was restored",

	NodeIdle:          "nobody had needed it (idle)",
	CanarySleep:       "it was to show that it can be woken (canary)",
	OperatorSleep:     "somebody ran `nightporter sleep`",
	OperatorWake:      "somebody ran `nightporter wake`",
	HandedOver:        "it has handed over what it held",
	NodeJoined:        "it joined",
	NodeReturned:      "it is back in touch",
	NodeFailed:        "it fell silent without a word",
	NodeLeft:          "it left the cluster",
	Demand:            "a client wants a service",
	QuorumLost:        "the cluster needs its vote",
	WokeUp:            "it was called",
	WokeUnasked:       "it woke without being called",
	WokeAlarm:         "its own clock woke it to look after the others (look_after)",
	WokeOnTime:        "its own clock woke it at its time (wake_at, wake_timers, wake_commands)",
	GaveUp:            "it was called and did not answer",
	SuspendFailed:     "its suspend failed",
	SuspendTimeout:    "its services were not handed over in time",
	SleepCancelled:    "somebody wanted it before it slept",
	SuspendedByOthers: "others suspended it (lid, systemctl, desktop)",

	CanaryPassed:    "it slept, was called and came back",
	CanaryFailed:    "it did not come back, or did not sleep",
	CanaryCalledOff: "it was not to be",
	CanaryAccepted:  "somebody says that it can be woken",
	FitDrifted:      "what its waking depends on has changed",
	WakeFailed:      "it was called and did not come",
}

// Because says a reason in words, the end of a sentence that begins with "because".
func (r Reason) Because() string { return cmp.Or(reasonWords[r], string(r)) }

// Sentence says an event in words, without its time and without a full stop.
func (e Event) Sentence() string {
	words := e.words()
	if e.By != "" && e.By != e.Node && (e.Kind == EventOwner || e.Kind == EventPower || e.Kind == EventService || e.Kind == EventSetting) {
		words += ", by " + e.By
	}
	return words
}

func (e Event) words() string {
	switch e.Kind {
	case EventCluster:
		if e.What == Salvaged {
			return fmt.Sprintf("the cluster was recovered on %s after the loss of its majority: it goes on without %s", e.Node, e.Detail)
		}
		return "cluster " + e.Detail + " was founded"
	case EventOwner:
		return fmt.Sprintf("%s: %s -> %s (epoch %d), because %s%s", e.Service, ownerName(e.From), ownerName(e.To), e.Epoch, e.Reason.Because(), colon(e.Detail))
	case EventPower:
		return fmt.Sprintf("%s: %s -> %s, because %s", e.Node, e.From, e.To, e.Reason.Because())
	case EventWake:
		return e.wakeWords()
	case EventFitness:
		return e.fitnessWords()
	case EventMember:
		return e.memberWords()
	case EventVoters:
		if e.From == "" { // the first change that the story has: who voted before is not in it
			return "the voters are " + commas(e.To) + " now"
		}
		return fmt.Sprintf("the voters are %s now (before: %s)", commas(e.To), commas(e.From))
	case EventService:
		return fmt.Sprintf("service %s was %s%s", e.Service, e.What, colon(e.Detail))
	case EventSetting:
		if e.What == OfFloor {
			return fmt.Sprintf("all epochs are above %s from now on, because %s (%s)", e.To, e.Reason.Because(), e.Detail)
		}
		return fmt.Sprintf("%s: %s -> %s", e.What, e.From, e.To)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", e.Kind, e.What, e.Node, e.Service, e.Detail)) // of a newer version
}

func (e Event) wakeWords() string {
	switch {
	case e.What == Ended && e.Reason == WokeUp:
		return fmt.Sprintf("%s is awake %s", e.Node, e.Detail)
	case e.What == Ended:
		return fmt.Sprintf("the wake of %s has ended %s: %s", e.Node, e.Detail, e.Reason.Because())
	case e.What == Judged:
		return fmt.Sprintf("the wake of %s for %s was %s", e.Node, cmp.Or(e.Service, "nobody"), e.To)
	case e.Reason == Demand && e.Detail != "":
		client, port, _ := strings.Cut(e.Detail, " ")
		return fmt.Sprintf("%s is called by %s: %s wants %s (%s)", e.Node, e.By, client, e.Service, port)
	case e.Reason.ByItself():
		return fmt.Sprintf("%s wakes: %s", e.Node, e.Reason.Because())
	}
	return fmt.Sprintf("%s is called by %s: %s", e.Node, cmp.Or(e.By, "somebody"), e.Reason.Because())
}

func (e Event) fitnessWords() string {
	switch e.What {
	case CanaryBegun:
		return fmt.Sprintf("the canary of %s begins: it sleeps and is called, to see whether it can be woken", e.Node)
	case CanaryEnded:
		return fmt.Sprintf("the canary of %s has ended (%s): %s", e.Node, e.Reason, cmp.Or(e.Detail, e.Reason.Because()))
	case Revoked:
		return fmt.Sprintf("%s does not count as fit to be woken any more, because %s%s", e.Node, e.Reason.Because(), colon(e.Detail))
	}
	return fmt.Sprintf("%s counts as fit to be woken, because %s", e.Node, e.Reason.Because())
}

func (e Event) memberWords() string {
	switch e.What {
	case Joined:
		return fmt.Sprintf("%s joined (%s)", e.Node, e.Detail)
	case Removed:
		return fmt.Sprintf("%s is no member any more, because %s", e.Node, cmp.Or(e.Reason, NodeLeft).Because())
	case Forgotten:
		return e.Node + " is not looked for any more: it was lost in a recovery, and somebody says that it does not come back (`nightporter forget`)"
	case Corrected:
		return fmt.Sprintf("%s is awake for another reason than the log had: %s", e.Node, e.Reason.Because())
	case Maintained:
		return fmt.Sprintf("%s: maintenance %s%s", e.Node, e.To, colon(e.Detail))
	}
	return fmt.Sprintf("%s says otherwise of itself: %s", e.Node, e.Detail)
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func commas(list string) string { return strings.ReplaceAll(list, ",", ", ") }

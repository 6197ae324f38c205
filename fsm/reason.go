package fsm

// Reason says why something was decided. The same value stands in status, history, logs and tests. A reader that
// meets one it does not know prints it as it is.
type Reason string

// Reasons of an ownership change.
const (
	FirstOwner      Reason = "first-owner"      // the service was just defined
	OwnerFailed     Reason = "owner-failed"     // the owner's lease ran out and it gives no sign of life
	OwnerLeft       Reason = "owner-left"       // the owner left the cluster or was forgotten
	OwnerSleeps     Reason = "owner-sleeps"     // the owner is about to suspend
	OwnerDrained    Reason = "owner-drained"    // the owner shuts down or is in maintenance
	DrainEnded      Reason = "drain-ended"      // a forced drain had left the service without an owner, and is over
	OwnerUnfit      Reason = "owner-unfit"      // the owner lives but says itself that it cannot hold
	OwnerAsleep     Reason = "owner-asleep"     // the owner turned out to be asleep (missed hand-over)
	TargetReady     Reason = "target-ready"     // a target is awake and takes its service back
	BetterTarget    Reason = "better-target"    // a target that comes earlier in the list is ready
	OperatorMoved   Reason = "operator-moved"   // `nightporter move`
	ServiceDeleted  Reason = "service-deleted"  // nobody may hold it any more
	ServiceChanged  Reason = "service-changed"  // address, MAC or targets were changed: a new tenure begins
	ForeignHolder   Reason = "foreign-holder"   // a host outside the cluster answers for the address
	NobodyAvailable Reason = "nobody-available" // no awake candidate
	CheckFailed     Reason = "check-failed"     // the owner's checks fail, or nothing is heard of them
	CheckPassed     Reason = "check-passed"     // a target whose checks had failed takes its service back
)

// Reasons of a power change and of a wake.
const (
	NodeJoined     Reason = "node-joined"
	NodeReturned   Reason = "node-returned"   // back in touch after a crash or a sleep
	OperatorSleep  Reason = "operator-sleep"  // `nightporter sleep`
	OperatorWake   Reason = "operator-wake"   // `nightporter wake`
	NodeIdle       Reason = "idle"            // nobody needed the node for as long as its configuration says
	HandedOver     Reason = "handed-over"     // asleep, as versions up to 0.1 wrote it; now it is the reason of the suspend that stays
	Demand         Reason = "demand"          // a client wants a service
	QuorumLost     Reason = "quorum-lost"     // sleeping voters are needed
	SuspendFailed  Reason = "suspend-failed"  // the suspend command failed
	SuspendTimeout Reason = "suspend-timeout" // the hand-over did not end in time
	SleepCancelled Reason = "sleep-cancelled" // demand came before the suspend
	NodeFailed     Reason = "node-failed"     // an awake node went silent
	NodeLeft       Reason = "node-left"       // `nightporter leave`
	WokeUp         Reason = "woke-up"         // result of a wake: the node is back
	GaveUp         Reason = "gave-up"         // result of a wake: no answer within the time
	WokeUnasked    Reason = "woke-unasked"    // back without a wake of ours
	WokeAlarm      Reason = "woke-alarm"      // its own clock woke it to look after the others, and it may be needed
	WokeOnTime     Reason = "woke-on-time"    // its own clock woke it at a time of its configuration
)

// ByItself says whether a host that is awake for this reason came up without having been called.
func (r Reason) ByItself() bool { return r == WokeUnasked || r == WokeAlarm || r == WokeOnTime }

// SuspendedByOthers is the reason of a suspend that was not this program's: a lid was closed, somebody ran `systemctl suspend`, a desktop was idle.
const SuspendedByOthers Reason = "suspended-by-others"

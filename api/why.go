package api

import "time"

// Why tells why a node is awake, or asleep. Times are of the clock of the node that it is about where that answers itself.
type Why struct {
	Node        string    `json:"node"`
	Summary     string    `json:"summary"` // a sentence
	Power       string    `json:"power"`   // awake, suspending, asleep, waking, off
	PowerReason string    `json:"power_reason"`
	Since       time.Time `json:"since"`  // of the power state
	Cause       string    `json:"cause"`  // of the power state, a sentence
	Policy      string    `json:"policy"` // always-on, sleeps

	Idle       Duration  `json:"idle_seconds"` // after which it goes to sleep by itself; 0 = it does not, or that is not known here
	State      string    `json:"state"`        // busy, idle, held, sleep, off; "" = it is not awake, or does not answer
	StateSince time.Time `json:"state_since"`
	SleepsAt   time.Time `json:"sleeps_at"` // if nobody comes; zero = it is in use, or does not go to sleep by itself
	WakesAt    time.Time `json:"wakes_at"`  // the next of its times to wake (wake_at); zero = it has none

	Reasons []AwakeReason `json:"reasons"`  // why it is awake now, the oldest first
	LastUse AwakeReason   `json:"last_use"` // the use that ended last; no name = none since it came up
	Rules   []Rule        `json:"rules"`    // what would change its power state, the most likely first
	Notes   []string      `json:"notes"`    // what could not be looked at, a sentence each
}

// AwakeReason is one reason to be awake.
type AwakeReason struct {
	Name     string    `json:"name"` // flows, users, inhibitor, load, network, process, unit, command, hook, schedule, maintenance, minimum, quorum, unfit, waking, retry, unknown
	Kind     string    `json:"kind"` // use: somebody uses it; hold: it must not sleep now
	Subject  string    `json:"subject"`
	Sentence string    `json:"sentence"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"` // when it was last seen
}

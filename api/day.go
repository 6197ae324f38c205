package api

import "time"

// Day is the newest part of the cluster's story for a time-line, by the stamps of the hosts that proposed what happened. It is on the
// status page's server (/v1/day).
type Day struct {
	Index    uint64        `json:"index"` // of the last log entry that is in it, as Status.Known has it
	From     time.Time     `json:"from"`
	Until    time.Time     `json:"until"` // now, by the clock of the host that answers
	Services []ServiceLine `json:"services"`
	Nodes    []NodeLine    `json:"nodes"`
	Wakes    []WakeRecord  `json:"wakes"` // that began within the day, oldest first
	Times    []WakeSamples `json:"times"` // of hosts that were ever woken
}

// ServiceLine is who held one service, oldest first. What is in no span is not known.
type ServiceLine struct {
	Service string       `json:"service"`
	Spans   []HolderSpan `json:"spans"`
}

// HolderSpan is one tenure.
type HolderSpan struct {
	From   time.Time `json:"from"`  // not before the day's
	Until  time.Time `json:"until"` // the next change, or now
	Since  time.Time `json:"since"` // when it really began, by the hosts' clocks as far as they agree with the order of the log
	Owner  string    `json:"owner"` // "" = nobody
	Epoch  uint64    `json:"epoch"`
	Reason string    `json:"reason"`
}

// NodeLine is what one host was, oldest first. What is in no span is not known.
type NodeLine struct {
	Node   string      `json:"node"`
	Policy string      `json:"policy"`
	Spans  []PowerSpan `json:"spans"`
}

// PowerSpan is one power state.
type PowerSpan struct {
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Since  time.Time `json:"since"`
	Power  string    `json:"power"` // awake, suspending, asleep, waking, off
	Reason string    `json:"reason"`
}

// WakeSamples are the newest wakes of one host that were measured, at most 64, oldest first.
type WakeSamples struct {
	Node    string       `json:"node"`
	Limit   Duration     `json:"limit_seconds"` // after which a wake of it has failed
	Samples []WakeSample `json:"samples"`
}

// WakeSample is one of them.
type WakeSample struct {
	At     time.Time   `json:"at"`
	Failed bool        `json:"failed"`
	Phases []PhaseTime `json:"phases"`
}

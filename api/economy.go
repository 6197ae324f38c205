package api

import (
	"net/netip"
	"time"
)

// WakeRules say whose demand wakes a service's targets, and how often.
type WakeRules struct {
	Allow []netip.Prefix `json:"allow"` // only these sources; empty = all
	Deny  []netip.Prefix `json:"deny"`  // never these, whatever allow says
	// Wakes for nothing: by one source in an hour, and in a day by all sources together that are
	// not in the front's own networks and have no useful wake on record. -1 = any
	// number; 0 in Apply = the default.
	Budget        int      `json:"budget"`
	BudgetAll     int      `json:"budget_all"`
	AsleepAtLeast Duration `json:"asleep_at_least_seconds"` // a target that fell asleep is left asleep for so long
}

// WakesQuery picks wakes.
type WakesQuery struct {
	Name string `json:"name"` // of a node or a service; "" = all
	Last int    `json:"last"` // so many of the newest; 0 = all that are remembered
}

// Wakes is the ledger of wakes, oldest first, and the attempts that were not allowed to wake anybody.
type Wakes struct {
	Wakes   []WakeRecord `json:"wakes"`
	Refused []Ignored    `json:"refused"` // as the hosts that were awake and in touch counted them since their agents started
	Waiting []WakeWaits  `json:"waiting"` // at these hosts
	Notes   []string     `json:"notes"`   // which hosts did not tell, a sentence each
}

// Ignored is a counted line of attempts from one source that woke nobody.
type Ignored struct {
	Service string    `json:"service"`
	Source  string    `json:"source"` // an address, an IPv6 network of 64 bits, or "" = of those that had no line of their own
	Port    string    `json:"port"`   // of the newest: "tcp/8080"
	Why     string    `json:"why"`    // denied, over-budget, over-budget-all
	Count   uint64    `json:"count"`  // packets: a client that tries once sends several
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	By      string    `json:"by"` // the host that counted
}

// WakeWaits is a wake that waits for its turn.
type WakeWaits struct {
	Node    string `json:"node"`
	Service string `json:"service"`
	Client  string `json:"client"`
	By      string `json:"by"`
}

// ReportQuery says from when on.
type ReportQuery struct {
	Since Duration `json:"since_seconds"` // before now; 0 = all that is remembered
}

// Report sums up what sleeping was good for. The hours are differences of the hosts' wall clocks, from the log; days are those of UTC.
type Report struct {
	From  time.Time    `json:"from"`  // the beginning of a day; zero = all that is remembered
	Until time.Time    `json:"until"` // now
	Nodes []NodeReport `json:"nodes"` // by name
	Notes []string     `json:"notes"` // what is not known, a sentence each
}

// NodeReport is one host's part.
type NodeReport struct {
	Node   string      `json:"node"`
	Policy string      `json:"policy"` // always-on, sleeps
	Since  time.Time   `json:"since"`  // from when on its hours are counted here; not before the report's from
	Awake  Duration    `json:"awake_seconds"`
	Asleep Duration    `json:"asleep_seconds"`
	Off    Duration    `json:"off_seconds"` // it crashed or left
	Wakes  []WakeCount `json:"wakes"`
	// Watts are the configuration's, of the host that answers. Without them no energy is told.
	Configured  bool    `json:"watts_configured"`
	WattsAwake  float64 `json:"watts_awake"`
	WattsAsleep float64 `json:"watts_asleep"`
	SavedWh     float64 `json:"saved_watt_hours"` // hours asleep times the difference of the two
}

// WakeCount is how many wakes there were of one kind.
type WakeCount struct {
	Service string `json:"service"` // "" = of none: an operator's, or the quorum's
	Cause   string `json:"cause"`
	Verdict string `json:"verdict"` // useful, spurious, unknown, failed; "" = not judged
	Count   uint64 `json:"count"`
}

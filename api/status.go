package api

import (
	"net/netip"
	"time"
)

// Status is all that one agent knows: about itself exactly, about the others as the log and gossip have it.
type Status struct {
	Node    string    `json:"node"` // the agent that answers
	Time    time.Time `json:"time"` // when it answered, by its own clock
	Version string    `json:"version"`
	Cluster Cluster   `json:"cluster"`
	Leader  string    `json:"leader"` // "" = none known
	Quorum  Quorum    `json:"quorum"`

	Failover     Duration `json:"failover_seconds"`      // in force
	FailoverFile Duration `json:"failover_file_seconds"` // what this host's file says; it counts at bootstrap only
	Inrush       int      `json:"wake_inrush"`           // hosts that are woken at one time for clients; 0 = any number

	LAN      LAN             `json:"lan"`
	Sleep    HostSleep       `json:"sleep"`
	Known    Known           `json:"known"`    // how old is what is told here of the others
	Problems []string        `json:"problems"` // what is wrong, worst first, a sentence each
	Troubles []Trouble       `json:"troubles"` // the same in the same order, with what to do
	Services []ServiceStatus `json:"services"` // by name
	Nodes    []NodeStatus    `json:"nodes"`    // by name
}

// Cluster names the cluster. ID is "" until it is founded.
type Cluster struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Known is how old the answering agent's knowledge of what the cluster agreed on is. A host that is cut off goes on telling what it knew.
type Known struct {
	Index   uint64   `json:"index"`       // of the last log entry that it has
	Current bool     `json:"current"`     // it leads, or has heard of the leader within the time in which an election would begin
	Age     Duration `json:"age_seconds"` // since it last heard of a leader; 0 = it leads, or never has in this life of the agent
}

// Trouble is something that is wrong.
type Trouble struct {
	What string `json:"what"` // a sentence
	Do   string `json:"do"`   // what to do about it; "" = it says so itself, or there is nothing to do but wait
}

// Quorum tells how close the cluster is to losing the majority of its voters.
type Quorum struct {
	Voters []string `json:"voters"`
	Awake  []string `json:"awake"` // the voters that are alive and awake
	Needed int      `json:"needed"`
	Have   bool     `json:"have"` // len(Awake) >= Needed
}

// LAN is the interface that carries the identities on the answering host.
type LAN struct {
	Interface string         `json:"interface"`
	Up        bool           `json:"up"`
	Prefixes  []netip.Prefix `json:"prefixes"` // with the host's own address in it: 192.0.2.11/24
}

// HostSleep is how the answering host sleeps, and whether it hands over before a suspend that others start.
type HostSleep struct {
	How  string `json:"how"`  // suspend, s2idle, deep, hibernate, hybrid-sleep, suspend-then-hibernate, command
	Able bool   `json:"able"` // it may sleep, and nothing is known that keeps it from that
	Why  string `json:"why"`  // it cannot, a sentence; "" also for a host that is always on
	// Delay is the state of the lock that has systemd-logind wait: held, released (on the way into a sleep), none (there is no logind), or
	// unknown, with DelayWhy.
	Delay    string   `json:"delay"`
	DelayWhy string   `json:"delay_why"`
	DelayMax Duration `json:"delay_max_seconds"` // for which logind waits at most
}

// ServiceStatus is one service as the answering agent sees it.
type ServiceStatus struct {
	Service
	ModeGives  string    `json:"mode_gives"`  // what the mode gives, a sentence
	Owner      string    `json:"owner"`       // "" = nobody
	OwnerState string    `json:"owner_state"` // serving, holding, claiming, silent, none
	Epoch      uint64    `json:"epoch"`
	Reason     string    `json:"reason"`
	Since      time.Time `json:"since"`
	Cause      string    `json:"cause"` // the reason, as a sentence
	By         string    `json:"by"`
	Holder     Holder    `json:"holder"` // the owner's lease and fence, as far as they are known here
	Role       string    `json:"role"`   // of the answering node: serving, holding, claiming, parked, none
	Lease      Lease     `json:"lease"`
	Fence      Fence     `json:"fence"`
	Waiting    Waiting   `json:"waiting"`
	// Health is what its targets say of themselves, in the order of preference; empty for a service without checks, of which a target
	// is ready whenever it is awake and in touch.
	Health []TargetHealth `json:"health"`
}

// Holder is what the answering node knows of the lease and the fence of a service's owner, and from where. Of itself it knows exactly, and so it
// does when the owner itself said so just now. Else a voter says what it granted; of a fence elsewhere there is then only the owner's
// announcement, or the lease without which it would close by itself.
type Holder struct {
	Source   string   `json:"source"`            // here (it is the owner), asked (the owner says so now), vote (this voter's table), none (the rest: what was announced)
	Lease    string   `json:"lease"`             // held, asking, refused (as the owner says); granted (this voter grants it), silent (this voter has not been asked for longer than it lasts), unknown, none
	LeaseAge Duration `json:"lease_age_seconds"` // since this voter was last asked; 0 = it was not, or the owner says it itself
	Fence    string   `json:"fence"`             // open, closed, presumed-open (its lease is granted, or it was announced and this host has lost touch), unknown, none
}

// TargetHealth is what one target says of one service, as it arrived at the answering agent.
type TargetHealth struct {
	Node   string   `json:"node"`
	State  string   `json:"state"`       // ready, failing, unknown
	Detail string   `json:"detail"`      // why it is not ready, a sentence
	Age    Duration `json:"age_seconds"` // since it last said so; 0 = never
}

// Waiting is what of a service's clients waits at the answering node.
type Waiting struct {
	Attempts    int      `json:"attempts"`    // to connect, kept for a target
	Connections int      `json:"connections"` // of a target that sleeps
	Shut        []string `json:"shut"`        // here, the target: where nobody listens, as "tcp 192.0.2.200:8080"
}

// Lease is the answering node's own right to use the service, or why it has none.
type Lease struct {
	State   string    `json:"state"` // held, asking, refused, none
	Epoch   uint64    `json:"epoch"`
	Left    Duration  `json:"left_seconds"`
	Refused []Refusal `json:"refused"` // of the current round
}

// Refusal is one voter's no.
type Refusal struct {
	Voter  string   `json:"voter"`
	Reason string   `json:"reason"`
	Holder string   `json:"holder"` // who is in the way
	Left   Duration `json:"left_seconds"`
}

// Fence is what the kernel of the answering node lets through.
type Fence struct {
	Kind   string   `json:"kind"`
	State  string   `json:"state"`  // open, closed, none
	Limits []string `json:"limits"` // what this kind does not cover, a sentence each
}

// NodeStatus is one host of the cluster.
type NodeStatus struct {
	Name        string    `json:"name"`
	Alive       bool      `json:"alive"` // as gossip has it
	Power       string    `json:"power"` // awake, suspending, asleep, waking, off
	PowerReason string    `json:"power_reason"`
	Cause       string    `json:"cause"`          // the reason, as a sentence
	Since       time.Time `json:"since"`          // of the power state
	Policy      string    `json:"policy"`         // always-on, sleeps
	Role        string    `json:"role,omitempty"` // witness: it votes, and never holds a service
	Voter       bool      `json:"voter"`
	Leader      bool      `json:"leader"`
	Maintenance bool      `json:"maintenance"`
	Drain       Drain     `json:"drain"` // of a node in maintenance
	// Secrets are short names of the cluster secrets that it has, the one in use first, as gossip last had it; none where that is not known.
	Secrets     []string       `json:"secrets"`
	Fit         bool           `json:"fit"` // it could hold a service now
	Key         string         `json:"key"` // SHA-256 of the public key that its record pins, in hex
	Addr        netip.AddrPort `json:"addr"`
	Wake        []MAC          `json:"wake"`
	LastSeen    time.Time      `json:"last_seen"`
	Version     string         `json:"version"`
	Wakes       WakeTimes      `json:"wakes"`
	WakeFitness *WakeFitness   `json:"wake_fitness,omitempty"` // of a host that may sleep, once it has said anything
}

// WakeTimes is how long the wakes of a host take. The phases are of the newest wakes that were measured and did not fail, at most 64.
type WakeTimes struct {
	Woken    uint64       `json:"woken"` // ever, with those that are not remembered any more
	Failures uint64       `json:"failures"`
	Limit    Duration     `json:"limit_seconds"` // after which a wake of this host has failed
	Phases   []PhaseTimes `json:"phases"`        // called, back, awake, ready, served, as far as they were measured
}

// PhaseTimes is the distribution of one phase, counted from the demand.
type PhaseTimes struct {
	Phase string   `json:"phase"`
	Count int      `json:"count"`
	P50   Duration `json:"p50_seconds"`
	P95   Duration `json:"p95_seconds"`
	Max   Duration `json:"max_seconds"`
}

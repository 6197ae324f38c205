package agent

import "nightporter/metrics"

// catalog describes every metric of an agent; docs/metrics.md has the same list, and a test compares them. What comes from the log, or from
// gossip, is the same on every node but for the moment in which it arrives; docs/metrics.md says which.
var catalog = []metrics.Desc{
	{Name: "nightporter_build_info", Kind: metrics.Gauge, Help: "1, with what runs here.", Labels: []string{"cluster", "node", "version", "goversion"}},
	{Name: "nightporter_problems", Kind: metrics.Gauge, Help: "Sentences under problems in this node's status.", Labels: nil},
	{Name: "nightporter_failover_seconds", Kind: metrics.Gauge, Help: "The failover setting in force."},

	{Name: "nightporter_service_holder", Kind: metrics.Gauge, Help: "1 where this node holds the identity: its fence is open under a lease.", Labels: []string{"service"}},
	{Name: "nightporter_service_serving", Kind: metrics.Gauge, Help: "1 where this node holds the identity as a target, and not as a front.", Labels: []string{"service"}},
	{Name: "nightporter_service_owned", Kind: metrics.Gauge, Help: "1 where the log gives the identity to this node.", Labels: []string{"service"}},
	{Name: "nightporter_service_lease_left_seconds", Kind: metrics.Gauge, Help: "What is left of this node's lease; 0 without one.", Labels: []string{"service"}},
	{Name: "nightporter_service_waiting_attempts", Kind: metrics.Gauge, Help: "Attempts of clients to connect that are kept here for a target.", Labels: []string{"service"}},
	{Name: "nightporter_service_waiting_connections", Kind: metrics.Gauge, Help: "Connections of a sleeping target that are kept here.", Labels: []string{"service"}},
	{Name: "nightporter_blackout_seconds", Kind: metrics.Hist, Help: "Estimated time without a holder at changes of holder, measured by the new one.", Labels: []string{"reason"}},
	{Name: "nightporter_service_blackout_seconds_total", Kind: metrics.Counter, Help: "The same times, added up.", Labels: []string{"service"}},
	{Name: "nightporter_service_epoch", Kind: metrics.Gauge, Help: "Epoch of the present ownership.", Labels: []string{"service"}},
	{Name: "nightporter_service_owner", Kind: metrics.Gauge, Help: "1 for the owner that the log names; no sample without an owner.", Labels: []string{"service", "owner"}},
	{Name: "nightporter_service_owner_since_timestamp_seconds", Kind: metrics.Gauge, Help: "When the present ownership began, by the proposer's clock.", Labels: []string{"service"}},
	{Name: "nightporter_service_transitions_total", Kind: metrics.Counter, Help: "Changes of owner in the log since this agent started.", Labels: []string{"service", "reason"}},
	{Name: "nightporter_service_target_ready", Kind: metrics.Gauge, Help: "1 where a target's checks pass, 0 where they fail; no sample where neither is known.", Labels: []string{"service", "node"}},

	{Name: "nightporter_node_power", Kind: metrics.Gauge, Help: "1 for the power state that the log names, 0 for the others.", Labels: []string{"node", "power"}},
	{Name: "nightporter_node_power_since_timestamp_seconds", Kind: metrics.Gauge, Help: "When the present power state began, by the proposer's clock.", Labels: []string{"node"}},
	{Name: "nightporter_node_power_seconds_total", Kind: metrics.Counter, Help: "Time awake, asleep and off, from the log's ledger.", Labels: []string{"node", "power"}},
	{Name: "nightporter_node_alive", Kind: metrics.Gauge, Help: "1 where gossip has the node alive.", Labels: []string{"node"}},
	{Name: "nightporter_node_voter", Kind: metrics.Gauge, Help: "1 where the node votes.", Labels: []string{"node"}},
	{Name: "nightporter_node_fit", Kind: metrics.Gauge, Help: "1 where the node could hold a service now; of nodes that are no witness.", Labels: []string{"node"}},
	{Name: "nightporter_node_maintenance", Kind: metrics.Gauge, Help: "1 where the node is in maintenance.", Labels: []string{"node"}},
	{Name: "nightporter_node_may_sleep", Kind: metrics.Gauge, Help: "1 where a node with power: sleeps has shown that it can be woken, or need not.", Labels: []string{"node"}},
	{Name: "nightporter_node_cannot_be_woken", Kind: metrics.Gauge, Help: "1 where a node was called in vain and nobody has cleared that up.", Labels: []string{"node"}},

	{Name: "nightporter_wakes_total", Kind: metrics.Counter, Help: "Wakes that were begun, from the log's ledger; service is empty for an operator's or the quorum's.", Labels: []string{"node", "service", "cause"}},
	{Name: "nightporter_wakes_judged_total", Kind: metrics.Counter, Help: "Wakes by what they were good for, from the log's ledger.", Labels: []string{"node", "service", "verdict"}},
	{Name: "nightporter_wakes_failed_total", Kind: metrics.Counter, Help: "Measured wakes that were given up.", Labels: []string{"node"}},
	{Name: "nightporter_wake_phase_seconds", Kind: metrics.Hist, Help: "Time from the demand to each phase of the wakes that this node ran and that did not fail.", Labels: []string{"node", "phase"}},
	{Name: "nightporter_wake_limit_seconds", Kind: metrics.Gauge, Help: "After which a wake of the node has failed.", Labels: []string{"node"}},
	{Name: "nightporter_wakes_refused_total", Kind: metrics.Counter, Help: "Packets of attempts that this node let wake nobody.", Labels: []string{"service", "why"}},
	{Name: "nightporter_wakes_waiting", Kind: metrics.Gauge, Help: "Wakes that wait here for their turn."},

	{Name: "nightporter_raft_has_leader", Kind: metrics.Gauge, Help: "1 where this node knows a leader."},
	{Name: "nightporter_raft_leader", Kind: metrics.Gauge, Help: "1 where this node leads."},
	{Name: "nightporter_raft_leader_changes_total", Kind: metrics.Counter, Help: "Changes of the leader, to another or to none, that this agent has seen."},
	{Name: "nightporter_raft_term", Kind: metrics.Gauge, Help: "The term."},
	{Name: "nightporter_raft_last_index", Kind: metrics.Gauge, Help: "Index of the newest entry in this node's log."},
	{Name: "nightporter_raft_commit_index", Kind: metrics.Gauge, Help: "Index up to which this node knows entries to be committed."},
	{Name: "nightporter_raft_applied_index", Kind: metrics.Gauge, Help: "Index up to which this node has applied entries."},
	{Name: "nightporter_raft_last_contact_seconds", Kind: metrics.Gauge, Help: "Time since this node heard the leader; no sample on the leader itself."},
	{Name: "nightporter_quorum_voters", Kind: metrics.Gauge, Help: "Voters."},
	{Name: "nightporter_quorum_voters_awake", Kind: metrics.Gauge, Help: "Voters that are awake and in touch."},
	{Name: "nightporter_quorum_voters_needed", Kind: metrics.Gauge, Help: "The majority of the voters."},
	{Name: "nightporter_gossip_health_score", Kind: metrics.Gauge, Help: "memberlist's judgement of this node: 0 is best, 7 worst."},
	{Name: "nightporter_gossip_members", Kind: metrics.Gauge, Help: "Hosts that gossip has met, by what it thinks of them.", Labels: []string{"state"}},
	{Name: "nightporter_disk_failing", Kind: metrics.Gauge, Help: "1 where the log cannot be written on this node."},

	{Name: "process_cpu_seconds_total", Kind: metrics.Counter, Help: "Processor time of the agent."},
	{Name: "process_resident_memory_bytes", Kind: metrics.Gauge, Help: "Resident memory of the agent."},
	{Name: "process_start_time_seconds", Kind: metrics.Gauge, Help: "When the agent's process started."},
	{Name: "process_open_fds", Kind: metrics.Gauge, Help: "Open files of the agent."},
	{Name: "go_goroutines", Kind: metrics.Gauge, Help: "Goroutines of the agent."},
}

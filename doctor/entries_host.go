package doctor

import "nightporter/api"

var hostEntries = []Entry{
	{
		"not-looked-at", "", api.Note, "Something could not be looked at: rights are missing, or a tool of the kernel.",
		"What was not looked at may be wrong all the same.", "Run it as root: `sudo nightporter doctor`.", "capabilities(7)",
	},
	{
		"config-missing", areaConfig, api.Note, "There is no configuration file yet.",
		"Without it nobody knows which interface, addresses and hosts are meant: only the machine itself is looked at.",
		"`nightporter setup`, or on a further host of a cluster `nightporter setup --join`; or name another file with --config.", "docs/install.md",
	},
	{
		"config-invalid", areaConfig, api.Fail, "The configuration file has a problem; each is a finding, with file, line and column.",
		"The agent does not start with it.", "Correct it; `nightporter config check` tells the same.", "`nightporter config check`",
	},
	{
		"config-note", areaConfig, api.Note, "A value of the configuration is valid, but deserves a second look.",
		"It does what it says, which may not be what was meant.", "As the sentence says; `nightporter config example` explains every key.", "`nightporter config check`",
	},
	{
		"not-root", areaPrivileges, api.Note, "This command runs as an ordinary user.",
		"Much cannot be looked at then; each thing is a finding `not-looked-at`.", "`sudo nightporter doctor`", "capabilities(7)",
	},
	{
		"capabilities", areaPrivileges, api.Fail, "Root lacks CAP_NET_ADMIN or CAP_NET_RAW here: a container, or a unit that takes them away.",
		"An agent with the same rights can neither build an identity nor announce one.",
		"Give the container or the unit CAP_NET_ADMIN and CAP_NET_RAW (AmbientCapabilities= and CapabilityBoundingSet= in a unit).", "capabilities(7), systemd.exec(5)",
	},
	{
		"user-namespace", areaPrivileges, api.Warn, "Root is root of a user namespace only, as in an unprivileged container.",
		"The kernel lets nobody load BPF programs from there, so the fence is nftables', which goes by the wall clock and knows nothing of suspends.",
		"Run the agent on the host itself, or in a privileged container.", "user_namespaces(7), capabilities(7) (CAP_BPF)",
	},
	{
		"kernel-macvlan", areaKernel, api.Fail, "A macvlan cannot be made in a network namespace of its own.",
		"A service in mode mac has its MAC on a macvlan.", "`modprobe macvlan`; install the kernel's package of further modules; or give the services `mode: address`.",
		"ip-link(8), drivers/net/macvlan.c",
	},
	{
		"kernel-nftables", areaKernel, api.Fail, "The fence and guard of nftables cannot be built.",
		"The guard keeps a front from refusing what is meant for a sleeping host, and is nftables' with every fence.",
		"Linux 5.16 or later with CONFIG_NF_TABLES, CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_EGRESS; `modprobe nf_tables`.", "nft(8): netdev, hooks ingress and egress (since 5.16)",
	},
	{
		"kernel-bpf", areaKernel, api.Warn, "The exact fence (BPF) cannot be had. With `fence: required` it is a failure.",
		"The fence is nftables' then: it goes by the wall clock, and does not close at the entry of a suspend.",
		"`modprobe sch_ingress cls_bpf`; CAP_BPF and CAP_PERFMON in the unit; kernel.unprivileged_bpf_disabled does not matter to root, lockdown=confidentiality does.", "tc-bpf(8), capabilities(7)",
	},
	{
		"kernel-fence-limit", areaKernel, api.Warn, "The exact fence has a limit here that it has not elsewhere: no BPF file system, or no tracepoint. With `fence: required` it is a failure.",
		"It closes too soon (when the daemon is killed) or notices a suspend later.", "`mount -t bpf bpf /sys/fs/bpf`, which systemd does by itself.", "Documentation/bpf: BPF file system",
	},
	{
		"kernel-packet", areaKernel, api.Fail, "Packet sockets cannot be opened.",
		"Announcements, the look for strangers, and seeing that a client wants a sleeping host need them.", "`modprobe af_packet` (CONFIG_PACKET); CAP_NET_RAW.", "packet(7)",
	},
	{
		"clock-unset", areaClock, api.Fail, "The wall clock is before 2025: it was never set.",
		"Times in the log are of no use, and a fence of nftables counts by this clock.", "`timedatectl set-ntp true`; a new battery for the machine's clock; fake-hwclock on a Raspberry Pi.", "timedatectl(1)",
	},
	{
		"clock-unsynchronized", areaClock, api.Warn, "The kernel says that nobody keeps the wall clock right.",
		"Who owns what is not decided by clocks; but the histories of two hosts cannot be laid side by side, and a clock that is set by a leap closes a fence of nftables, or keeps it open for longer.",
		"`timedatectl set-ntp true`, or chrony (with `maxslewrate 10000`, see clock-slew).", "adjtimex(2): STA_UNSYNC",
	},
	{
		"clock-slew", areaClock, api.Note, "chrony is installed, and may slew this host's clocks by more than 3.5 %; by default it is 8.3 %.",
		"The fence's deadline is counted by a clock that is slewed too. The agent sees that and allows for it. But where it dies or stands still in the very lease in which the clock begins to be slowed down, the fence could be open for some hundredths of a lease after another host has begun.",
		"`maxslewrate 10000` in /etc/chrony/chrony.conf, and `systemctl restart chrony`.", "chrony.conf(5): maxslewrate; adjtimex(2): ADJ_TICK",
	},
	{
		"clock-skew", areaClock, api.Warn, "The wall clocks of two hosts are more than two seconds apart.",
		"History, `why` and the ledger of wakes mix the times of all hosts.", "`timedatectl set-ntp true` on both.", "adjtimex(2)",
	},
	{
		"daemon-down", areaVersions, api.Note, "No agent answers at the admin socket. On a host that has been in a cluster (its data_dir has a log) it is a failure.",
		"Before the installation that is as it should be. Later this host takes part in nothing.", "`systemctl enable --now nightporter`; `journalctl -u nightporter` tells why it ended.", "systemctl(1)",
	},
	{
		"daemon-version", areaVersions, api.Warn, "The agent that runs is of another version than this command.",
		"It has not taken the new program after an upgrade.", "`systemctl reload nightporter`; an agent of version 0.1 knows no reload: `systemctl restart nightporter`", "docs/install.md, upgrades",
	},
	{
		"agent-problem", areaVersions, api.Warn, "The agent itself says that something is wrong.",
		"It is what `nightporter status` says first.", "As the sentence says; `nightporter status`.", "`nightporter status`",
	},
	{
		"versions-mixed", areaVersions, api.Warn, "Hosts of one cluster run different versions.",
		"Definitions that need the newer version are refused until all are upgraded.", "Install the newer package on the older ones, which reloads the agent; or `make install` and `systemctl reload nightporter` there. Where version 0.1 runs: `systemctl restart nightporter`.", "docs/install.md, fsm/DESIGN.md",
	},
	{
		"config-differs", areaVersions, api.Warn, "Hosts of one cluster have different configuration files.",
		"The file is meant to be the same everywhere: what differs is forgotten on the day on which another host starts.", "Copy the newest file to all, and `systemctl reload nightporter` there.", "`nightporter config example`",
	},
	{
		"peer-unexamined", areaVersions, api.Warn, "A host that should be awake did not answer, or its version does not know this command.",
		"What is wrong there is not known.", "`nightporter status`; run `nightporter doctor` there.", "`nightporter status`",
	},
	{
		"peer-asleep", areaVersions, api.Note, "A host sleeps or is off, and was not examined.",
		"What is wrong there is not known.", "`nightporter doctor --peers --wake` wakes it first.", "docs/design.md, Sleep",
	},
}

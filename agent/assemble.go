package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
)

// Protocol is the version of what agents say to each other. Two that differ do not meet.
const Protocol = 1

// assemble opens and wires everything, in the order that Run's comment gives. On an error it closes what it opened.
func assemble(cfg *config.Config, deps Deps) (a *parts, err error) {
	a = &parts{cfg: cfg, deps: deps, wired: make(chan struct{}), left: newBell(), departure: departure{bell: newBell(), turn: make(turn, 1)}, gossip: &lateGossip{}, ability: ability{turn: make(turn, 1)}}
	opened := a // a return with an error sets a to nil
	defer func() {
		close(opened.wired)
		if err != nil {
			opened.closeAll()
		}
	}()
	keys, err := loadKeys(cfg)
	if err != nil {
		return nil, err
	}
	id, err := deps.Disk.Identity(keys, cfg.Node)
	if err != nil {
		return nil, err
	}
	incarnation, err := deps.Disk.Incarnation(deps.Clock.Wall())
	if err != nil {
		return nil, err
	}
	a.machine = fsm.NewMachine(deps.Log)
	a.pins = &pins{
		self: cfg.Node, clock: deps.Clock, machine: a.machine, members: a.gossip.Members, peer: a.peer, log: deps.Log, bell: newBell(),
		sworn: make(map[string]sworn), seen: make(map[shown]pretender), spots: make(map[string]spot),
	}
	if a.peers, err = deps.Net.Peers(netip.AddrPortFrom(cfg.Address, cfg.PeerPort), id, directory{a}, deps.Log); err != nil {
		return nil, err
	}
	a.closers = append(a.closers, a.peers)
	node, err := a.startRaft()
	if err != nil {
		return nil, err
	}
	a.recall(node)
	a.applied = &applied{machine: a.machine, journal: node.Journal(), disk: deps.Disk, log: deps.Log}
	mirror, err := deps.Disk.Mirror()
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, mirror)
	has, err := node.HasState()
	if err != nil {
		return nil, err
	}
	if !has { // a table that is left in the run directory is another cluster's, whatever the names say
		mirror = blankMirror{mirror}
	}
	ballot := newBallot(cfg.Node, deps.Clock, a.machine, node.Journal(), mirror, deps.Log)
	a.wire(ballot, incarnation)
	a.figures.raft = node.Figures
	a.figures.base = node.Figures().Last
	a.lineage.born = node.Journal().Cluster()
	if err := a.lineage.load(); err != nil {
		return nil, err
	}
	if !has { // nothing can have left it behind
		a.lineage.doubt.over()
	}
	a.notifier.written = node.Journal().LastIndex
	if err := a.startGossip(keys, id, incarnation); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *parts) startRaft() (*cluster.Raft, error) {
	rc := cluster.RaftConfig{
		Node: a.cfg.Node, Timing: cluster.Derive(a.cfg.Failover), Machine: a.machine, Stream: a.peers.RaftLayer(), Log: a.deps.Log,
	}
	var err error
	if rc.Past, err = a.deps.Disk.LoadPast(); err != nil {
		return nil, err
	}
	if err := a.deps.Disk.Stores(&rc); err != nil {
		return nil, err
	}
	node, err := cluster.StartRaft(rc)
	if err != nil {
		return nil, err
	}
	a.raft = node
	a.closers = append(a.closers, closeFunc(node.Shutdown))
	return node, nil
}

// wire makes the pieces and ties them together. Nothing runs yet.
func (a *parts) wire(b *ballot, incarnation uint64) {
	cfg, deps := a.cfg, a.deps
	members := a.gossip.Members
	a.scene = &scene{self: cfg.Node, clock: deps.Clock, machine: a.machine, ballot: b, members: members, leader: a.raft.Leader, deaf: a.raft.Deaf, learnt: make(map[string]tenureSeen), is: a.pins.is}
	checks := &voteChecks{clock: deps.Clock, mine: func() *cluster.VoteState {
		return &cluster.VoteState{Warm: b.warm(), Index: a.machine.View().Index}
	}}
	a.waking = newWaking(cfg.WakeTimeout)
	a.post = &post{self: cfg.Node, log: deps.Log, clock: deps.Clock, machine: a.machine, ballot: b, raft: a.raft, waking: a.waking, opens: &opens{}, checks: checks, gossip: a.gossip}
	a.usher = &usher{
		self: cfg.Node, clock: deps.Clock, out: a.post, log: deps.Log,
		with: func(service string, f func(*tenant)) { a.tenants.with(service, f) }, news: func() { a.leader.bell.ring() },
	}
	a.post.usher = a.usher
	a.proposer = &proposer{
		self: cfg.Node, clock: deps.Clock, raft: a.raft, out: a.post, peer: a.peer, scene: a.scene, usher: a.usher, log: deps.Log,
		gate: &quorumGuard{scene: a.scene, machine: a.machine, barrier: a.raft.Barrier, turn: make(turn, 1)},
	}
	a.tenants = &tenants{
		self: cfg.Node, clock: deps.Clock, ruler: b.ruler, kernel: deps.Kernel, reach: deps.Reach, log: deps.Log, out: a.post, demand: a.waking.demand,
		listen: deps.Listen, onForeign: identityConflict(cfg.OnConflict), incarnation: incarnation, all: make(map[string]*tenant),
	}
	a.post.tenants, a.post.scene = a.tenants, a.scene
	a.checkups = &checkups{
		self: cfg.Node, clock: deps.Clock, machine: a.machine, scene: a.scene, tenants: a.tenants, world: deps.Checks, out: a.post,
		incarnation: incarnation, log: deps.Log, bell: newBell(), all: make(map[string]*checkup), units: make(map[string]*caretaker),
	}
	a.hooks = newHooks(cfg.Hooks, deps.Hooks, cfg.SuspendTimeout, deps.Log)
	a.hooks.self, a.hooks.machine, a.hooks.tenants = cfg.Node, a.machine, a.tenants
	a.tenants.changed = func() {
		a.checkups.bell.ring()
		a.hooks.bell.ring()
	}
	a.notifier = &notifier{
		self: cfg.Node, machine: a.machine, leads: a.raft.IsLeader, wall: deps.Clock.Wall, log: deps.Log,
		hooks:   hookOutlet(cfg.Hooks, deps.Hooks, cfg.Node, a.raft.IsLeader, deps.Log),
		webhook: webhookOutlet(cfg.Webhook, deps.Post, cfg.Cluster, cfg.Node, a.raft.IsLeader, deps.Log),
	}
	a.tenants.desk = &desk{
		self: cfg.Node, clock: deps.Clock, machine: a.machine, view: a.scene.view, gaveUp: a.waking.problem, open: deps.Front,
		ring:   func(service string) { a.tenants.with(service, func(t *tenant) { t.hurry() }) },
		demand: a.waking.demand,
	}
	a.closers = append(a.closers, a.tenants.desk)
	w := a.waking
	w.self, w.clock, w.machine, w.scene, w.raft, w.proposer = cfg.Node, deps.Clock, a.machine, a.scene, a.raft, a.proposer
	w.out, w.tenants, w.caller, w.log, w.opens = a.post, a.tenants, deps.Caller, deps.Log, a.post.opens
	w.hook = deps.Hook
	w.economy.log, w.economy.lan = deps.Log, func() []netip.Prefix {
		lan, err := deps.Kernel.LAN()
		if err != nil {
			return nil // it has none now
		}
		return lan.Prefixes
	}
	a.verdicts = &verdicts{
		self: cfg.Node, clock: deps.Clock, machine: a.machine, watch: a.machine.Watch, shown: a.tenants.shown, open: deps.Uses, record: w.record, log: deps.Log,
	}
	if f := deps.Former; f != nil {
		w.former, w.since = f.Wakes, f.Index
	}
	a.meta = newMetaKeeper(deps.Log)
	a.touch = &touch{self: cfg.Node, gossip: a.gossip, machine: a.machine, disk: deps.Disk, seeds: cfg.Join, log: deps.Log, bell: newBell()}
	a.alarm = &alarm{
		self: cfg.Node, clock: deps.Clock, machine: a.machine, raft: a.raft, proposer: a.proposer, power: deps.Power,
		link: func() bool { lan, err := deps.Kernel.LAN(); return err == nil && lan.Up }, peer: a.peer, log: deps.Log,
		handOver: cfg.SuspendTimeout, falls: cmp.Or(deps.Falls, fallsAsleep),
	}
	if cfg.Power == config.Sleeps {
		a.alarm.after, a.alarm.moments, a.alarm.times = cfg.LookAfter, wakeMoments(cfg), deps.WakeTimes
	}
	w.looking = a.alarm.looking.Load
	a.delay = &inhibitor{self: cfg.Node, logind: deps.Logind, log: deps.Log, bell: newBell()}
	a.sleeper = &sleeper{
		self: cfg.Node, clock: deps.Clock, machine: a.machine, raft: a.raft, proposer: a.proposer, tenants: a.tenants,
		scene: a.scene, opens: a.post.opens, power: deps.Power, meta: a.meta, rejoin: a.touch.bell.ring,
		leaving: a.departure.begun.Load, units: a.quiet, alarm: a.alarm,
		timeout: cfg.SuspendTimeout, log: deps.Log, bell: newBell(),
		delay: a.delay,
	}
	a.alarm.noticed = a.sleeper.away.Load
	a.delay.press, a.delay.ease, a.delay.late = a.sleeper.press, a.sleeper.ease, a.sleeper.late
	a.idler = &idler{
		self: cfg.Node, clock: deps.Clock, machine: a.machine, scene: a.scene, leader: a.raft.Leader, proposer: a.proposer, senses: deps.Senses,
		rules: idleRules(cfg), every: lookEvery(cfg.Idle), wakeAt: wakeMoments(cfg), leaving: a.departure.begun.Load, waking: w.wanted, failure: a.sleeper.said, mayRest: a.alarm.mayRest, log: deps.Log, bell: newBell(),
	}
	a.unasked = &unasked{self: cfg.Node, clock: deps.Clock, machine: a.machine, proposer: a.proposer, power: deps.Power, lastUse: a.idler.lastUse, log: deps.Log}
	a.reporter = &reporter{
		cfg: cfg, clock: deps.Clock, machine: a.machine, proposer: a.proposer, power: deps.Power, addresses: a.wakeAddresses, meta: a.meta,
		log: deps.Log, bell: newBell(),
	}
	a.sleeper.power = checkedPower{deps.Power, a.reporter.current, a.reporter.barred}
	a.idler.barred = a.reporter.barred
	a.canaries = &canaries{
		self: cfg.Node, clock: deps.Clock, machine: a.machine, raft: a.raft, proposer: a.proposer, waking: w, members: members, log: deps.Log,
		answers: func(ctx context.Context, node string) bool { _, err := a.peer(node).Version(ctx); return err == nil },
	}
	if deps.Senses != nil {
		a.closers = append(a.closers, deps.Senses)
	}
	a.founding = &founding{
		self: cfg.Node, name: cfg.Cluster, expect: cfg.BootstrapExpect, names: cfg.Nodes, failover: cfg.Failover, services: services(cfg),
		clock: deps.Clock, raft: a.raft, members: members, disk: deps.Disk, promise: a.meta.setPromise, log: deps.Log,
	}
	a.leader = &leader{
		scene: a.scene, machine: a.machine, raft: a.raft, proposer: a.proposer, post: a.post, checks: checks, usher: a.usher,
		members: members, founding: a.founding, pins: a.pins, log: deps.Log, bell: newBell(),
	}
	a.ticks = &ticks{
		clock: deps.Clock, ruler: b.ruler, kernel: deps.Kernel, tenants: a.tenants, sleeper: a.sleeper, touch: a.touch, meta: a.meta, log: deps.Log, bell: newBell(), checks: a.checkups, idler: a.idler, reporter: a.reporter,
		disk: a.raft.DiskTrouble, machine: a.machine, witness: cfg.Role == config.Witness,
	}
	a.figures = newFigures(a, b.lastAsked)
	a.tenants.silences, a.waking.phases = &a.figures.silences, a.figures.woken
	a.web = &webLoop{cfg: cfg, listen: deps.Web, source: a.figures, log: deps.Log}
	a.lineage = &lineage{
		self: cfg.Node, machine: a.machine, members: members, disk: deps.Disk, clock: deps.Clock, tenants: a.tenants, meta: a.meta,
		ring: a.post.members.ring, log: deps.Log, others: a.touch.addresses, turn: make(turn, 1),
	}
	a.lineage.doubt = newDoubt(deps.Clock, deps.Former != nil, func() {
		a.touch.bell.ring()
		a.post.members.ring()
	})
	a.touch.lineage, a.leader.lineage, a.post.lineage, w.lineage = a.lineage, a.lineage, a.lineage, a.lineage
	a.ticks.doubt, b.withholds = a.lineage.doubt, a.lineage.withholds
	a.unseal = &unseal{machine: a.machine, raft: a.raft, kernel: deps.Kernel, log: deps.Log}
	a.watchdog = &watchdog{limit: deps.Watchdog, look: func() { a.scene.view() }, roll: a.callRoll, tell: deps.Ready, log: deps.Log}
	a.post.jumped = a.ticks.bell
	a.scene.news = func() {
		a.leader.bell.ring()
		a.waking.bell.ring()
	}
}

func (a *parts) startGossip(keys cluster.Keys, id *cluster.Identity, incarnation uint64) error {
	wakeAt, err := a.wakeAddresses()
	if err != nil {
		return err
	}
	of := a.lineage.pedigree(a.machine.View().State)
	a.meta.meta = cluster.Meta{
		Cluster: of.id, Former: of.former, Generation: of.generation, Silent: a.lineage.isSilent(), Waits: a.deps.Former == nil, // nothing is open yet
		Name: a.cfg.Cluster, Power: fsm.Awake, Raft: netip.AddrPortFrom(a.cfg.Address, a.cfg.PeerPort), Wake: wakeAt,
		Version: a.deps.Version, Digest: a.cfg.Digest, Pin: id.Pin(), Protocol: Protocol, Policy: fsm.Policy(a.cfg.Power),
		Incarnation: incarnation, Secrets: keys.IDs(), Format: fsm.Format, Role: roleOf(a.cfg.Role),
	}
	at := gossipAddr(a.cfg)
	ring := func() {
		a.post.members.ring()
		a.leader.bell.ring()
		a.waking.bell.ring()
	}
	g, err := a.deps.Net.Gossip(cluster.GossipConfig{
		Node: a.cfg.Node, Cluster: a.cfg.Cluster, Bind: at, Advertise: at, Key: keys.Gossip, Also: keys.GossipAlso(),
		Timing: cluster.Derive(a.cfg.Failover), Meta: a.meta.now(), Log: a.deps.Log,
		OnChange: ring, OnMessage: a.post.receive, OnConflict: a.post.conflict, OnWord: a.lineage.word, Impostor: a.impostor,
		OnUnread: func(from netip.Addr) { a.post.unread.note(from, a.deps.Clock.Boot()) },
	})
	if err != nil {
		return err
	}
	a.gossip.set(g)
	a.figures.score = g.Score
	a.meta.attach(g)
	a.closers = append(a.closers, closeFunc(func() error {
		if a.stays {
			return g.Shutdown()
		}
		if err := g.Leave(500 * time.Millisecond); err != nil {
			a.deps.Log.Debug("the others were not told that this agent stops", "err", err)
		}
		return g.Shutdown()
	}))
	return nil
}

// impostor keeps out of gossip who uses a member's name in another place. In that member's own place it answers for it already, so gossip
// is to know whom it has there; and what hosts of another cluster say of themselves must be heard.
func (a *parts) impostor(node string, at netip.AddrPort, m cluster.Meta) string {
	state := a.machine.View().State
	n, known := state.Nodes[node]
	if !known || (m.Cluster != "" && m.Cluster != state.Cluster.ID) {
		return ""
	}
	if at == n.Gossip {
		a.pins.hearsay(node, m.Pin)
		return ""
	}
	why := a.pins.impostor(node, m.Pin)
	if why != "" {
		a.pins.sighted(node, at)
	}
	return why
}

// wakeAddresses are where magic packets for this host go: as configured, else as its network card has them. The LAN interface's own
// address is among them: by it the others know this host in ARP where it holds a service in mode address.
func (a *parts) wakeAddresses() ([]fsm.MAC, error) {
	macs := a.cfg.WakeMACs
	if len(macs) == 0 {
		var err error
		if macs, err = a.deps.Power.WakeAddresses(); err != nil {
			return nil, fmt.Errorf("reading where magic packets for this host go: %w", err)
		}
	}
	var out []fsm.MAC
	for _, m := range macs {
		out = append(out, fsm.MAC(m))
	}
	if lan, err := a.deps.Kernel.LAN(); err == nil && len(lan.MAC) == 6 && !slices.Contains(out, fsm.MAC(lan.MAC)) {
		out = append(out, fsm.MAC(lan.MAC))
	}
	return out, nil
}

// services are the file's services, as the first leader writes them into the log.
func services(cfg *config.Config) []fsm.Service {
	var out []fsm.Service
	for _, s := range cfg.Services {
		sv := fsm.Service{
			Name: s.Name, Addresses: s.Addresses, Mode: modeOf(s.Mode), MAC: macOf(cfg.Cluster, s.Name, s.Mode, s.MAC), Targets: s.Targets, Replay: replayWord(s.Replay),
		}
		for _, p := range s.Ports {
			sv.Ports = append(sv.Ports, fsm.Port{Protocol: fsm.Protocol(p.Protocol), Number: p.Number, Hold: fsm.Hold(s.Holds[p.String()])})
		}
		sv.Unit, sv.Wake = fsm.Unit(s.Unit), usualBudgets(fsm.WakeRules(s.Wake))
		for _, c := range s.Checks {
			sv.Checks = append(sv.Checks, fsm.Check{
				Kind: fsm.CheckKind(c.Kind), Port: c.Port, Path: c.Path, Host: c.Host, StatusMin: c.StatusMin, StatusMax: c.StatusMax,
				Name: c.Name, Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall,
			})
		}
		out = append(out, withHolds(sv, s.Hold))
	}
	return out
}

// directory tells the transport who is who.
type directory struct{ parts *parts }

// Impostor implements cluster.Directory.
func (d directory) Impostor(node, key string) string { return d.parts.pins.impostor(node, key) }

// Stranger refuses the nodes of another cluster: where index and term happen to agree, Raft would put two logs into one. The peer port is
// open, and Raft calls others, before everything is there that knows of that.
func (d directory) Stranger(node string) string {
	<-d.parts.wired
	if d.parts.lineage == nil {
		return "this agent could not start"
	}
	// A host that was left behind is as good as gone: it would bring its old log to one that has just begun anew.
	if why := d.parts.lineage.sentence(); why != "" {
		return why
	}
	for _, m := range d.members() {
		if m.Name == node {
			return otherCluster(d.parts.machine.View().State, m)
		}
	}
	return unmet(d.parts.machine.View().State, node)
}

func (d directory) Addr(node string) (netip.AddrPort, bool) {
	for _, m := range d.members() {
		if m.Name == node && m.Meta.Raft.IsValid() {
			return m.Meta.Raft, true
		}
	}
	n, ok := d.parts.machine.View().State.Nodes[node]
	return n.Addr, ok && n.Addr.IsValid()
}

func (d directory) members() []cluster.Member {
	return d.parts.gossip.Members()
}

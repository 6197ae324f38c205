package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
)

// Wreck is what is left of a cluster on one host whose agent does not run: what `nightporter recover` works on. It holds the locks of an
// agent until it is closed.
type Wreck struct {
	cfg     *config.Config
	disk    systemDisk
	lock    io.Closer
	remains cluster.Remains
	log     *slog.Logger
}

// OpenWreck reads what is left; nothing is changed.
func OpenWreck(cfg *config.Config, log *slog.Logger) (w *Wreck, err error) {
	w = &Wreck{cfg: cfg, disk: newSystemDisk(cfg.DataDir, cfg.RunDir), log: log}
	if w.lock, err = w.disk.Lock(); err != nil {
		return nil, err
	}
	opened := w
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	switch s, err := w.disk.LoadSuperseded(); {
	case err != nil:
		return nil, err
	case s != nil:
		return nil, fmt.Errorf("this host belongs to the cluster before another recovery, and %s goes on from it, as %s has told: nothing is to be recovered here; start its agent and run `nightporter leave`; if the cluster that goes on is lost too: `nightporter backup --offline` first, then leave, found anew, restore", shortID(s.By), s.Told)
	}
	if w.remains, err = cluster.ReadRemains(w.disk.inData("raft")); err != nil {
		return nil, fmt.Errorf("reading what is left of the cluster in %s: %w", cfg.DataDir, err)
	}
	s := w.remains.State
	switch _, member := s.Nodes[cfg.Node]; {
	case s.Cluster.ID == "":
		return nil, errors.New("this host belongs to no cluster yet: there is nothing to recover")
	case s.Cluster.Name != cfg.Cluster:
		return nil, fmt.Errorf("%s is of the cluster %s, and the configuration names the cluster %s: name the right files with --config and --data-dir", cfg.DataDir, s.Cluster.Name, cfg.Cluster)
	case !member:
		return nil, fmt.Errorf("%s is no member in the state in %s: it was not admitted yet, or has been forgotten", cfg.Node, cfg.DataDir)
	}
	return w, nil
}

// Close gives the locks back.
func (w *Wreck) Close() error { return w.lock.Close() }

// WreckNode is another member, as the state in the wreck has it.
type WreckNode struct {
	Name  string         `json:"name"`
	Power string         `json:"power"`
	Since time.Time      `json:"since"`
	Voter bool           `json:"voter"`
	Addr  netip.AddrPort `json:"addr"`
}

// WreckService is a service as the state in the wreck has it.
type WreckService struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`
	Epoch uint64 `json:"epoch"`
}

// WreckReport tells what is left.
type WreckReport struct {
	Node     string         `json:"node"`
	Cluster  string         `json:"cluster"`
	ID       string         `json:"id"`
	Index    uint64         `json:"index"` // of the last entry of this host's log
	Term     uint64         `json:"term"`  // of that entry
	Voters   []string       `json:"voters"`
	Others   []WreckNode    `json:"others"` // the other members, by name
	Services []WreckService `json:"services"`
	Listen   time.Duration  `json:"-"` // how long to listen for the others, if nobody says otherwise
	Least    time.Duration  `json:"-"` // how long at least
	Majority bool           `json:"-"` // this host alone is a majority of the voters: there is nothing to recover
}

// Report tells what is left.
func (w *Wreck) Report() WreckReport {
	s := w.remains.State
	voters := cluster.Voters(w.remains.Servers)
	r := WreckReport{
		Node: w.cfg.Node, Cluster: s.Cluster.Name, ID: s.Cluster.ID, Index: w.remains.Index, Term: w.remains.Term, Voters: voters,
		Others: []WreckNode{}, Services: []WreckService{}, Majority: len(voters) == 1 && voters[0] == w.cfg.Node,
	}
	r.Least, r.Listen = listenFor(s, w.cfg)
	for _, name := range slices.Sorted(maps.Keys(s.Nodes)) {
		if n := s.Nodes[name]; name != w.cfg.Node {
			r.Others = append(r.Others, WreckNode{Name: name, Power: string(n.Power), Since: n.PowerSince, Voter: slices.Contains(voters, name), Addr: n.Addr})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		own := s.Ownerships[name]
		r.Services = append(r.Services, WreckService{Name: name, Owner: own.Owner, Epoch: own.Epoch})
	}
	return r
}

// listenFor says how long the others are listened for: so long that every lease has run out that was granted before, under the longest
// failover that there is (the lost majority may have set one that this host never heard of), and that who sleeps may have come up by
// then, since all are called. least holds under the settings that this host knows.
func listenFor(s *fsm.State, cfg *config.Config) (least, usual time.Duration) {
	known, longest := cluster.Derive(s.Timing.Largest), cluster.Derive(fsm.FailoverMax)
	least = 2 * (known.TTL + known.Margin)
	usual = max(longest.TTL+longest.Margin, least).Round(time.Second) + time.Second
	for name, n := range s.Nodes {
		if name != cfg.Node && (n.Power == fsm.Asleep || n.Power == fsm.Waking || n.Power == fsm.Suspending) {
			usual = max(usual, cfg.WakeTimeout)
		}
	}
	return least, usual
}

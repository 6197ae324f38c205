package api

import (
	"context"
	"net/netip"
	"time"
)

// Level says how bad a finding is.
type Level string

// The levels, worst first. Fine says what was looked at and is as it should be.
const (
	Fail Level = "fail" // it does not work like this
	Warn Level = "warn" // it works less well, or not always
	Note Level = "note" // worth knowing; also what could not be looked at
	Fine Level = "ok"
)

// Finding is one thing that doctor found out about a host, or about a cluster. docs/doctor.md has all of them by name.
type Finding struct {
	Level Level  `json:"level"` // fail, warn, note, ok
	Area  string `json:"area"`  // config, privileges, kernel, interface, wol, arp, conflict, managers, firewall, clock, port-security, sleep, versions
	Name  string `json:"name"`  // as docs/doctor.md has it; "fine" with the level ok
	What  string `json:"what"`  // is so, a sentence
	Why   string `json:"why"`   // it matters, a sentence; "" with the level ok
	Fix   string `json:"fix"`   // a command, or what to do; "" with the level ok
}

// DoctorQuery says what is to be looked at.
type DoctorQuery struct {
	Peers bool   `json:"peers"` // all nodes, not the one that is asked alone
	Wake  bool   `json:"wake"`  // those that sleep are woken for it
	Node  string `json:"node"`  // that is to be asked by the one that is asked, which can reach it; "" = that itself
	Test  bool   `json:"test"`  // hosts that hold no service with a MAC of its own send test frames from another MAC than their card's
}

// DoctorReport is what doctor found.
type DoctorReport struct {
	Nodes    []DoctorNode `json:"nodes"`    // by name
	Together []Finding    `json:"together"` // what shows only from several nodes
}

// Count gives the number of findings of a level.
func (r DoctorReport) Count(l Level) int {
	n := 0
	count := func(all []Finding) {
		for _, f := range all {
			if f.Level == l {
				n++
			}
		}
	}
	count(r.Together)
	for _, node := range r.Nodes {
		count(node.Findings)
	}
	return n
}

// DoctorNode is what one host found out about itself and what it sees of the others.
type DoctorNode struct {
	Node      string         `json:"node"`              // its name
	State     string         `json:"state"`             // examined; asleep, off, suspending, waking: it was not asked; silent: it does not answer; old: its version cannot
	Detail    string         `json:"detail"`            // why it was not examined, a sentence
	Via       string         `json:"via"`               // the node that asked it, where the one that was asked could not; else ""
	At        time.Time      `json:"at"`                // by its own clock
	Off       Duration       `json:"clock_off_seconds"` // by how much its clock is wrong at least, compared with that of the node that asked
	Version   string         `json:"version"`           // of its binary
	Digest    string         `json:"config_digest"`     // of its configuration; "" = it has none
	Findings  []Finding      `json:"findings"`          // worst first
	Reached   []DoctorReach  `json:"reached"`           // the ports of other hosts that it has tried
	Holds     []DoctorHold   `json:"holds"`             // the identities that it answers for now
	Heard     []DoctorHeard  `json:"heard"`             // what it heard when it asked the LAN for the addresses
	SecondMAC string         `json:"second_mac"`        // whether its frames with a second MAC were to arrive at the others: held (by services that it holds), sent (test frames), not-tried; "" = it needs none
	Frames    []DoctorFrames `json:"frames"`            // the test frames of others that it heard
}

// DoctorReach is one port of another host, as seen from this one.
type DoctorReach struct {
	To     string         `json:"to"`      // the node's name
	Addr   netip.AddrPort `json:"address"` // and port
	Proto  string         `json:"proto"`   // tcp, udp
	Result string         `json:"result"`  // ok, silent, refused, unreachable, unknown
	Detail string         `json:"detail"`  // the kernel's word for it
}

// DoctorHold is an identity that a node answers for.
type DoctorHold struct {
	Service string       `json:"service"`   // its name
	Mode    string       `json:"mode"`      // mac, address
	MAC     MAC          `json:"mac"`       // under which: mac0, or the interface's own
	Addrs   []netip.Addr `json:"addresses"` // of the service
}

// DoctorHeard is one address and who answered for it; nobody = nobody did.
type DoctorHeard struct {
	Service string     `json:"service"` // its name
	Addr    netip.Addr `json:"address"` // that was asked for
	MACs    []MAC      `json:"macs"`    // of those that answered
}

// DoctorFrames is what a node heard of another one's test frames.
type DoctorFrames struct {
	From string `json:"from"` // the node that sent them
	MAC  MAC    `json:"mac"`  // its test MAC
	Own  int    `json:"own"`  // frames that came from its card's own MAC
	Test int    `json:"test"` // frames that came from its test MAC
}

// Doctor implements Backend.
func (c *Client) Doctor(ctx context.Context, q DoctorQuery) (out DoctorReport, err error) {
	err = c.ask(ctx, "doctor", "examine the hosts", q, &out)
	return out, err
}

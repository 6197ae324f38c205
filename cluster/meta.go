package cluster

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"nightporter/fsm"
)

// Meta is what a node says of itself in gossip. memberlist allows 512 bytes for it.
type Meta struct {
	Cluster     string         // the cluster's ID (32 hex digits), "" before the node belongs to one
	Name        string         // the cluster's name
	Protocol    int            // of the messages between agents; nodes with another one do not meet
	Version     string         // of the binary
	Pin         string         // hex SHA-256 of the node's public key
	Digest      string         // of the configuration file, hex
	Raft        netip.AddrPort // where Raft and peers reach it
	Wake        []fsm.MAC      // where magic packets go
	Policy      fsm.Policy
	Role        fsm.Role
	Power       fsm.Power // its own word
	Sleeps      uint64    // the sleep that Power belongs to
	Incarnation uint64    // of the daemon
	Promised    string    // to whom it promised to found a cluster, while it belongs to none
	Format      uint8     // the newest format of the log's entries that it reads (fsm.Format)
	Unfit       string    // why it could not hold an identity now; "" = fit
	Former      []string  // the first digits of the IDs that this cluster had before its recoveries, the newest first; of many the last ones and the first, formerMax in all
	Generation  uint64    // of the newest of these recoveries; 0 = there was none
	Secrets     []string  // short names of the secrets that it has, the one in use first; none from versions before there could be two
	Silent      bool      // its cluster goes on without it after a recovery, and it has let go of everything
	Waits       bool      // it holds nothing and asks for nothing before it knows who is there
}

// MetaMax is memberlist's bound.
const MetaMax = 512

// How much of the Unfit sentence travels: that a node is unfit matters more than why.
const (
	unfitMax = 96
	unfitMin = 8
)

// Of the IDs of former clusters there is room for this much.
const (
	formerMax   = 3
	formerBytes = 6
)

// wireMeta is Meta with short keys; hashes travel as bytes (base64 in JSON).
type wireMeta struct {
	Cluster     []byte   `json:"u,omitempty"`
	Name        string   `json:"n"`
	Protocol    int      `json:"p"`
	Version     string   `json:"v,omitempty"`
	Pin         []byte   `json:"k,omitempty"`
	Digest      []byte   `json:"d,omitempty"`
	Raft        string   `json:"r,omitempty"`
	Wake        [][]byte `json:"w,omitempty"`
	Policy      string   `json:"o,omitempty"`
	Role        string   `json:"l,omitempty"`
	Power       string   `json:"s,omitempty"`
	Sleeps      uint64   `json:"z,omitempty"`
	Incarnation uint64   `json:"i,omitempty"`
	Promised    string   `json:"f,omitempty"`
	Format      uint8    `json:"m,omitempty"`
	Unfit       string   `json:"x,omitempty"`
	Former      [][]byte `json:"g,omitempty"`
	Generation  uint64   `json:"e,omitempty"`
	Silent      bool     `json:"q,omitempty"`
	Waits       bool     `json:"h,omitempty"`
	Secrets     [][]byte `json:"c,omitempty"`
}

var errMeta = errors.New("not a node's description")

// Encode gives the bytes for gossip.
func (m Meta) Encode() ([]byte, error) {
	w := wireMeta{
		Name: m.Name, Protocol: m.Protocol, Version: m.Version, Policy: string(m.Policy), Power: string(m.Power),
		Sleeps: m.Sleeps, Incarnation: m.Incarnation, Promised: m.Promised, Unfit: m.Unfit, Format: m.Format, Role: string(m.Role),
	}
	w.Silent, w.Waits, w.Generation = m.Silent, m.Waits, m.Generation
	for _, s := range m.Secrets {
		b, err := hex.DecodeString(s)
		if err != nil {
			return nil, fmt.Errorf("encoding a node's description: %q is not hex", s)
		}
		w.Secrets = append(w.Secrets, b)
	}
	former := m.Former
	if len(former) > formerMax { // the first one is what all have in common that ever went on from it
		former = append(slices.Clone(former[:formerMax-1]), former[len(former)-1])
	}
	for _, f := range former {
		b, err := hex.DecodeString(f)
		if err != nil {
			return nil, fmt.Errorf("encoding a node's description: %q is not hex", f)
		}
		w.Former = append(w.Former, b[:min(len(b), formerBytes)])
	}
	if len(w.Unfit) > unfitMax {
		w.Unfit = w.Unfit[:unfitMax]
	}
	for _, h := range []struct {
		from string
		to   *[]byte
	}{{m.Cluster, &w.Cluster}, {m.Pin, &w.Pin}, {m.Digest, &w.Digest}} {
		b, err := hex.DecodeString(h.from)
		if err != nil {
			return nil, fmt.Errorf("encoding a node's description: %q is not hex", h.from)
		}
		*h.to = b
	}
	w.Digest = w.Digest[:min(len(w.Digest), 8)]
	if m.Raft.IsValid() {
		w.Raft = m.Raft.String()
	}
	for _, mac := range m.Wake {
		w.Wake = append(w.Wake, []byte(mac))
	}
	b, err := json.Marshal(w)
	for err == nil && len(b) > MetaMax && len(w.Unfit) > unfitMin {
		w.Unfit = w.Unfit[:max(unfitMin, len(w.Unfit)-(len(b)-MetaMax))]
		b, err = json.Marshal(w)
	}
	for err == nil && len(b) > MetaMax && len(w.Former) > 1 {
		w.Former = slices.Delete(w.Former, len(w.Former)-2, len(w.Former)-1)
		b, err = json.Marshal(w)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding a node's description: %w", err)
	}
	if len(b) > MetaMax {
		return nil, fmt.Errorf("this node's description has %d bytes and gossip carries %d: give it fewer wake addresses or a shorter name", len(b), MetaMax)
	}
	return b, nil
}

// DecodeMeta reads what Encode made (I10: anything else is an error).
func DecodeMeta(b []byte) (Meta, error) {
	var w wireMeta
	if len(b) == 0 || len(b) > MetaMax {
		return Meta{}, errMeta
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return Meta{}, fmt.Errorf("%w: %w", errMeta, err)
	}
	m := Meta{
		Cluster: hex.EncodeToString(w.Cluster), Name: w.Name, Protocol: w.Protocol, Version: w.Version,
		Pin: hex.EncodeToString(w.Pin), Digest: hex.EncodeToString(w.Digest), Policy: fsm.Policy(w.Policy),
		Power: fsm.Power(w.Power), Sleeps: w.Sleeps, Incarnation: w.Incarnation, Promised: w.Promised, Unfit: w.Unfit, Format: w.Format, Role: fsm.Role(w.Role),
	}
	m.Silent, m.Waits, m.Generation = w.Silent, w.Waits, w.Generation
	for _, s := range w.Secrets {
		if len(s) != secretIDBytes {
			return Meta{}, errMeta
		}
		m.Secrets = append(m.Secrets, hex.EncodeToString(s))
	}
	for _, f := range w.Former {
		if len(f) != formerBytes {
			return Meta{}, errMeta
		}
		m.Former = append(m.Former, hex.EncodeToString(f))
	}
	if w.Raft != "" {
		a, err := netip.ParseAddrPort(w.Raft)
		if err != nil {
			return Meta{}, fmt.Errorf("%w: %w", errMeta, err)
		}
		m.Raft = a
	}
	for _, mac := range w.Wake {
		if len(mac) != 6 {
			return Meta{}, errMeta
		}
		m.Wake = append(m.Wake, fsm.MAC(mac))
	}
	return m, nil
}

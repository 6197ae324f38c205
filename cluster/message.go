package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"nightporter/fsm"
	"nightporter/lease"
)

// Message is what agents say to each other over gossip's encrypted user messages: best effort, unordered, may be doubled.
// Whatever it carries is repeated by its sender for as long as it matters.
type Message struct {
	From    string `json:"f"`
	Cluster string `json:"u,omitempty"` // the cluster's ID; "" before the sender knows it

	Requests []lease.Request `json:"q,omitempty"`
	Answers  []lease.Answer  `json:"a,omitempty"`
	Releases []lease.Release `json:"r,omitempty"`
	Acks     []lease.Ack     `json:"k,omitempty"`

	Committed  *Mark           `json:"c,omitempty"` // this entry is committed
	Stand      []Tenure        `json:"d,omitempty"` // the leader's: the receiver is about to get it, and is to prepare it
	Stands     []Tenure        `json:"t,omitempty"` // the answer: it is prepared behind the closed fence
	Prepared   []Tenure        `json:"p,omitempty"` // the new owner has applied the record and prepared everything
	Handed     []lease.Release `json:"h,omitempty"` // the former holder has closed its fence
	Open       []Tenure        `json:"o,omitempty"` // the new holder has opened its fence
	Listening  []Listening     `json:"l,omitempty"` // what can be reached at the new holder
	Flows      []Flows         `json:"y,omitempty"` // the connections that stay while their target sleeps
	FlowsKnown []Tenure        `json:"x,omitempty"` // the sender knows all of them
	Wake       []WakeCall      `json:"w,omitempty"` // the sender calls a sleeping node
	Engaged    []Tenure        `json:"b,omitempty"` // the sender holds it and passes connections on

	Health *HealthReport `json:"e,omitempty"` // how the services are of which the sender is a target

	VoteCheck *VoteCheck `json:"v,omitempty"`
	VoteState *VoteState `json:"s,omitempty"`
}

// Mark names an entry of the Raft log. By Raft's Log Matching property two logs that have an entry of the same index and
// term are identical up to it.
type Mark struct {
	Index uint64 `json:"i"`
	Term  uint64 `json:"t"`
}

// Tenure is one ownership of one service.
type Tenure struct {
	Service string `json:"s"`
	Epoch   uint64 `json:"e"`
}

// Listening is the word of the holder of a service: at these endpoints of the identity a program listens, so what clients said to
// a front can be given to it. Ports that are served later are added.
type Listening struct {
	Service string           `json:"s"`
	Epoch   uint64           `json:"e"`
	TCP     []netip.AddrPort `json:"t,omitempty"`
	UDP     []netip.AddrPort `json:"u,omitempty"`
}

// Flows is a part of what a target that gave a service up has of connections.
type Flows struct {
	Service string `json:"s"`
	Target  string `json:"n"`
	Epoch   uint64 `json:"e"` // the tenure that ended
	Total   int    `json:"t"` // in all parts
	Flows   []Flow `json:"f"`
}

// Flow is one established TCP connection.
type Flow struct {
	Client netip.AddrPort `json:"c"`
	Dest   netip.AddrPort `json:"d"`
	Next   uint32         `json:"n,omitempty"` // the sequence number that the target expects
	Window uint16         `json:"w,omitempty"` // as its segments announce it
	Known  bool           `json:"k,omitempty"` // Next was found out
}

// WakeCall tells of a wake campaign, so that others help and so that a node that has not gone yet stays.
type WakeCall struct {
	ID      string     `json:"i"`
	Node    string     `json:"n"`
	Service string     `json:"s,omitempty"`
	Cause   fsm.Reason `json:"c"`
	Client  string     `json:"l,omitempty"`
	Port    string     `json:"p,omitempty"`
	Sleeps  uint64     `json:"z"`
}

// VoteCheck asks a node whether it would vote.
type VoteCheck struct{}

// VoteState is the answer: whether rule 1 of the leases would let it grant, and how far it has applied the log.
type VoteState struct {
	Warm  bool   `json:"w"`
	Index uint64 `json:"i"`
}

// messageVersion is the first byte of a message. Another one is not read.
const messageVersion = 1

// MaxMessage bounds a message. One datagram carries it, fragmented where the network must.
const MaxMessage = 32 << 10

var errMessage = errors.New("not a message of this version")

// EncodeMessage gives the bytes that go into gossip.
func EncodeMessage(m Message) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a message: %w", err)
	}
	if len(body) >= MaxMessage {
		return nil, fmt.Errorf("encoding a message: %d bytes are more than the %d that one may have", len(body), MaxMessage)
	}
	return append([]byte{messageVersion}, body...), nil
}

// DecodeMessage reads what EncodeMessage made. Anything else is an error and changes nothing (I10).
func DecodeMessage(b []byte) (Message, error) {
	if len(b) < 2 || len(b) > MaxMessage || b[0] != messageVersion {
		return Message{}, errMessage
	}
	var m Message
	if err := json.Unmarshal(b[1:], &m); err != nil {
		return Message{}, fmt.Errorf("decoding a message: %w", err)
	}
	if m.From == "" {
		return Message{}, errMessage
	}
	return m, nil
}

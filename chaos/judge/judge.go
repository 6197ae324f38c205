// Package judge says whether two hosts ever used one identity at one time (I1). It compares what a capture at the switch
// saw with the cluster's own history of owners.
package judge

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"nightporter/api"
	"nightporter/chaos/check"
	run "nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// Where things stand in a frame (IEEE 802.3, RFC 826, 791).
const (
	atPayload = 14
	atSHA     = atPayload + 8  // the sender's hardware address in ARP
	atSPA     = atPayload + 14 // the sender's address in ARP
	atSrc     = atPayload + 12 // the sender's address in IPv4

	typeIPv4 = 0x0800
	typeARP  = 0x0806
)

// Identity is what floats.
type Identity struct {
	MAC net.HardwareAddr
	IP  netip.Addr
}

// Claimed says whether the sender of a frame claims the identity: its MAC, or its address in ARP or IPv4.
func (id Identity) Claimed(f lab.Frame) bool {
	if len(f.Data) < atPayload {
		return false
	}
	ip := id.IP.As4()
	switch {
	case bytes.Equal(f.Src(), id.MAC):
		return true
	case f.EtherType() == typeARP && len(f.Data) >= atSPA+4:
		return bytes.Equal(f.Data[atSPA:atSPA+4], ip[:]) || bytes.Equal(f.Data[atSHA:atSHA+6], id.MAC)
	case f.EtherType() == typeIPv4 && len(f.Data) >= atSrc+4:
		return bytes.Equal(f.Data[atSrc:atSrc+4], ip[:])
	}
	return false
}

// Use is one frame that claims an identity.
type Use struct {
	At    time.Time
	Host  string // at the port where the frame came from
	Frame []byte
}

// Turns are the uses with which hosts began to use an identity: the first frame of each run of frames from one host.
type Turns []Use

// See takes a frame of the identity, in the order of the wire.
func (t *Turns) See(u Use) {
	if n := len(*t); n == 0 || (*t)[n-1].Host != u.Host {
		*t = append(*t, u)
	}
}

// Strays gives the indexes of the turns that the history, in the order of its epochs, does not allow (check.Strays).
func (t Turns) Strays(history []api.Change) []int {
	turns := make([]check.Turn, len(t))
	for i, u := range t {
		turns[i] = check.Turn{Host: u.Host, At: u.At}
	}
	records := make([]run.Record, len(history))
	for i, c := range history {
		records[i] = run.Record{Epoch: c.Epoch, To: c.To, At: c.At}
	}
	return check.Strays(turns, records)
}

const clock = "15:04:05.000000"

func (u Use) String() string { return u.Host + " " + u.At.Format(clock) }

// Complaint tells of the strays, "" if there are none.
func (t Turns) Complaint(history []api.Change) string {
	strays := t.Strays(history)
	if len(strays) == 0 {
		return ""
	}
	var words []string
	for _, i := range strays {
		words = append(words, fmt.Sprintf("%s used the identity out of turn at %s, frame %x", t[i].Host, t[i].At.Format(clock), t[i].Frame))
	}
	turns := make([]string, len(t))
	for i, u := range t {
		turns[i] = u.String()
	}
	records := make([]string, len(history))
	for i, c := range history {
		records[i] = fmt.Sprintf("%d: %s->%s (%s) %s", c.Epoch, c.From, c.To, c.Reason, c.At.Format(clock))
	}
	return fmt.Sprintf("%s\nturns: %s\nhistory: %s", strings.Join(words, "\n"), strings.Join(turns, ", "), strings.Join(records, ", "))
}

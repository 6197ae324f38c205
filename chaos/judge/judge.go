// Package judge says whether two hosts ever used one identity at one time (I1). It compares what a capture at the switch
// saw with the cluster's own history of owners.
package judge

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
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

	atSrc6   = atPayload + 8  // in IPv6
	atNext6  = atPayload + 6  // what follows the header of IPv6
	atType6  = atPayload + 40 // of an ICMPv6 message
	atTarget = atPayload + 48 // of an ICMPv6 message about a neighbour

	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd

	protoICMPv6            = 58
	neighbourAdvertisement = 136
)

// Identity is what floats.
type Identity struct {
	MAC   net.HardwareAddr // nil in mode address
	Addrs []netip.Addr
}

// Claimed says whether the sender of a frame claims the identity: its MAC, or one of its addresses in ARP, in IP, or in what it
// advertises of a neighbour.
func (id Identity) Claimed(f lab.Frame) bool {
	if len(f.Data) < atPayload {
		return false
	}
	field := func(at, n int) []byte { return f.Data[min(at, len(f.Data)):min(at+n, len(f.Data))] }
	has := func(at, n int) bool {
		a, ok := netip.AddrFromSlice(field(at, n))
		return ok && slices.Contains(id.Addrs, a)
	}
	switch {
	case bytes.Equal(f.Src(), id.MAC):
		return true
	case f.EtherType() == typeARP && len(f.Data) >= atSPA+4:
		return has(atSPA, 4) || bytes.Equal(field(atSHA, 6), id.MAC)
	case f.EtherType() == typeIPv4 && len(f.Data) >= atSrc+4:
		return has(atSrc, 4)
	case f.EtherType() == typeIPv6 && len(f.Data) >= atPayload+40:
		advert := f.Data[atNext6] == protoICMPv6 && len(f.Data) >= atTarget+16 && f.Data[atType6] == neighbourAdvertisement
		return has(atSrc6, 16) || advert && has(atTarget, 16)
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

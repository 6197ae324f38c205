package idle

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// LoadAverage reads how many processes on average computed or waited for a disk in the last minute (proc(5), loadavg).
func LoadAverage() (float64, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, fmt.Errorf("reading the load: %w", err)
	}
	word, _, _ := strings.Cut(string(b), " ")
	load, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return 0, fmt.Errorf("reading the load: /proc/loadavg begins with %q", word)
	}
	return load, nil
}

// LoadReason is the reason for a load, false if it is below the least one that counts; 0 = none counts.
func LoadReason(load, least float64) (Reason, bool) {
	if least <= 0 || load < least {
		return Reason{}, false
	}
	return Reason{Name: Load, Kind: Use, Sentence: fmt.Sprintf("the load of the last minute is %.2f; from %.2f on the host is in use", load, least)}, true
}

// Carried reads the bytes that a link has received and sent since it came up, together.
func Carried(link string) (uint64, error) {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return 0, fmt.Errorf("reading the counters of %s: %w", link, err)
	}
	st := l.Attrs().Statistics
	if st == nil {
		return 0, fmt.Errorf("the kernel counts nothing on %s", link)
	}
	return st.RxBytes + st.TxBytes, nil
}

// Traffic turns the counter of a link into a rate. It is pure.
type Traffic struct {
	Link  string
	Least uint64 // bytes in a second from which on the host is in use

	bytes uint64
	at    time.Duration
	known bool
}

// Look takes in the counter, and gives a reason if the rate since the last look is one.
func (t *Traffic) Look(now time.Duration, bytes uint64) (Reason, bool) {
	before, since, known := t.bytes, t.at, t.known
	t.bytes, t.at, t.known = bytes, now, true
	if !known || now <= since || bytes < before || t.Least == 0 {
		return Reason{}, false
	}
	rate := uint64(float64(bytes-before) / (now - since).Seconds())
	if rate < t.Least {
		return Reason{}, false
	}
	return Reason{Name: Network, Kind: Use, Subject: t.Link, Sentence: fmt.Sprintf("%s carries %s in a second; from %s on the host is in use", t.Link, bytesOf(rate), bytesOf(t.Least))}, true
}

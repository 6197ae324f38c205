package agent

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// ear is what this host's interface says of itself at one moment.
type ear struct {
	link     bool
	received uint64 // packets, since the interface was made
}

// listensAt reads it.
func listensAt(name string) (ear, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return ear{}, fmt.Errorf("looking at %s: %w", name, err)
	}
	counters, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return ear{}, fmt.Errorf("looking at what %s received: %w", name, err)
	}
	received, err := packetsOf(string(counters), name)
	return ear{link: ifi.Flags&net.FlagRunning != 0, received: received}, err
}

// packetsOf finds the received packets of an interface in the kernel's table (proc(5), /proc/net/dev).
func packetsOf(table, name string) (uint64, error) {
	for row := range strings.Lines(table) {
		who, counters, ok := strings.Cut(strings.TrimSpace(row), ":")
		if f := strings.Fields(counters); ok && who == name && len(f) > 1 {
			n, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading what %s received: %w", name, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("the kernel does not say what %s received", name)
}

// linked refuses an interface without a link.
func (l ear) linked(name string) error {
	if !l.link {
		return fmt.Errorf("%s has no link: this host may be the one that is cut off, and the others be well; repair that first", name)
	}
	return nil
}

// heard says whether the silence of the others means anything: the link was there at the end as well, and somebody spoke meanwhile, whoever it was.
// A switch that is dead behind its ports, or a wrong VLAN, keeps the link up and lets nothing through. deaf = a person knows that nobody else is on the LAN.
func (l ear) heard(after ear, name string, deaf bool) error {
	if err := after.linked(name); err != nil {
		return err
	}
	if after.received == l.received && !deaf {
		return fmt.Errorf("nothing at all was heard on %s: this host may be the one that is cut off, so nothing was changed. Look at the cable, the switch and the VLAN; "+
			"if it is known that nobody else is on this LAN, give --deaf", name)
	}
	return nil
}

package agent

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"nightporter/fsm"
	"nightporter/idle"
	"nightporter/lease"
)

// inquiry finds out, on the host that was woken, what a client's wake was good for. It is pure: what is seen and the time are passed in.
type inquiry struct {
	id       string
	client   netip.Addr
	port     uint16
	udp      bool
	patience time.Duration // how long it has to say something
	sleeps   uint64        // of this host, when it began
	taken    lease.Boot    // when it began
	awake    lease.Boot    // since when this host is awake; 0 = it is not yet
	served   lease.Boot    // since when the client could be answered
	blind    bool          // something may have been missed
	declared fsm.Verdict

	before map[idle.Conn]uint64 // what connections to containers had carried when it began, by their ends; nil = it is not known yet
	late   bool                 // the client could have been here before it began
}

// Times of an inquiry.
const (
	// judgeAfter is how long a client has to say something, from when its port is served. A front's replay comes well before.
	judgeAfter = 10 * time.Second
	// judgeUnaided is the same where nothing is replayed: a client's pauses between two SYNs double up to 64 s.
	judgeUnaided = 70 * time.Second
	// servedBy is how long after the wake the service may take to be open here.
	servedBy = 5 * time.Minute
	// heardBefore is how long before the inquiry something may have been said that counts: after a resume the log is some seconds behind. What
	// a connection carried before that, which went on through the sleep, woke nobody.
	heardBefore = 30 * time.Second
	// saidLeast is how much a client must have said: the end of a connection (FIN) counts as one byte (tcp_info).
	saidLeast = 2
)

// glance is what is seen of one wake.
type glance struct {
	awake  bool
	sleeps uint64
	served bool // the client's port is open here
	said   bool // its connection completed, and it said something
	blind  bool // it cannot be seen, or something was missed
}

// see takes in what is seen now and gives the verdict; "" = none yet.
func (q *inquiry) see(now lease.Boot, g glance) fsm.Verdict {
	q.blind = q.blind || g.blind
	if g.awake && q.awake == 0 {
		q.awake = now
	}
	if g.served && q.served == 0 {
		q.served = now
	}
	switch {
	case q.declared != "":
	case g.said:
		q.declared = fsm.Useful
	case q.awake != 0 && g.sleeps > q.sleeps: // asleep again, before anything was seen
		q.declared = fsm.Unknown
	case q.served != 0 && q.udp: // datagrams leave no trace that the kernel counts by client
		q.declared = fsm.Unknown
	case q.ripe(now):
		q.declared = fsm.Spurious
		if q.blind {
			q.declared = fsm.Unknown
		}
	case q.served == 0 && q.awake != 0 && now.Sub(q.awake) >= servedBy:
		q.declared = fsm.Unknown
	}
	return q.declared
}

// inquire begins one; false: the record tells of no client.
func inquire(k fsm.Wake, sv fsm.Service, sleeps uint64) (*inquiry, bool) {
	client, err := netip.ParseAddrPort(k.Client)
	protocol, number, _ := strings.Cut(k.Port, "/")
	port, perr := strconv.ParseUint(number, 10, 16)
	if err != nil || perr != nil {
		return nil, false
	}
	q := &inquiry{id: k.ID, client: client.Addr(), port: uint16(port), udp: protocol == "udp", sleeps: sleeps, patience: judgeAfter}
	if sv.Replay == fsm.ReplayNone {
		q.patience = judgeUnaided
	}
	return q, true
}

// said says whether one of the connections is the client's, to its port at the service, and carried something for this wake; or whether one of them may be
// (vague). One that a front passes on comes from another member to this host's own address.
func (q *inquiry) said(now lease.Boot, conns []idle.Conn, addrs []netip.Addr, passed func(netip.Addr) bool) (said, vague bool) {
	for _, c := range conns {
		his := c.Remote.Addr() == q.client
		if !slices.Contains(addrs, c.Local.Addr()) {
			his = passed(c.Remote.Addr())
		}
		if his && c.Local.Port() == q.port {
			since := now.Sub(q.taken) + heardBefore
			said, vague = said || c.Received >= saidLeast && c.Quiet <= since, vague || c.Vague
		}
	}
	return said, vague
}

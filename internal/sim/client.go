package sim

import (
	"net/netip"
	"time"

	"nightporter/chaos/history"
)

// client is a host that asks for the services, on and on.
type client struct {
	w    *world
	name string
	addr netip.Addr
}

// Pauses of a client, and its patience.
const (
	askEvery = 150 * time.Millisecond // between the end of one request and the next
	askMost  = 3 * time.Second
	synAgain = time.Second // before a SYN is sent again; it doubles (RFC 6298)
)

// ask is one connection after the other to one service, until the run ends.
func (c *client) ask(service string, port uint16) {
	for !c.w.over() {
		c.next(service, port)
	}
}

// next is one of them, and the pause after it.
func (c *client) next(service string, port uint16) {
	if r := c.once(service, port); r.Ended.Sub(r.Began) > time.Second || !c.w.over() { // else it had no chance
		c.w.rec.request(r)
	}
	select {
	case <-time.After(askEvery):
	case <-c.w.ending:
	}
}

func (c *client) once(service string, port uint16) history.Request {
	r := history.Request{Client: c.name, Service: service, Began: time.Now()}
	answer := make(chan string, 8)
	give := time.NewTimer(askMost)
	defer give.Stop()
	for pause := synAgain; ; pause *= 2 {
		c.w.lan.syn(c, service, port, func(server string) {
			select {
			case answer <- server:
			default:
			}
		})
		again := time.NewTimer(pause)
		select {
		case server := <-answer:
			again.Stop()
			if r.Server, r.Ended = server, time.Now(); server == "" {
				r.Err = "refused"
			}
			return r
		case <-again.C:
			continue
		case <-give.C:
			r.Err = "timeout"
		case <-c.w.ending:
			r.Err = "the run ended"
		}
		again.Stop()
		r.Ended = time.Now()
		return r
	}
}

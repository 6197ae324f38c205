// Package workload is what people and programs do to a laboratory's cluster while the nemesis is at it: clients that
// connect, and operators who move, define, put to sleep and wake. A seed fixes what they try, not what comes of it.
//
// Goroutines: two per client and service (one connects, one sends datagrams), one per operator. Run waits for all of them.
package workload

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"nightporter/chaos/history"
	"nightporter/chaos/lab"
)

// Service is what clients connect to.
type Service struct {
	Name     string
	Addrs    []netip.Addr
	Port     uint16
	Sleepers bool // one of its targets may sleep: its clients pause now and then, so that it can
}

// Clients connect again and again.
type Clients struct {
	Lab      *lab.Lab
	Journal  *history.Journal
	Names    []string // where they are
	Services []Service
	Seed     uint64
	// Calm is closed when the run comes to its end: from then on nobody pauses.
	Calm <-chan struct{}
	Gate *Gate // keeps connections back; datagrams go on
}

const (
	requestEvery = 150 * time.Millisecond
	// requestLimit is a client's patience. Its kernel repeats a SYN after 1 and 3 s.
	requestLimit = 4 * time.Second
	datagrams    = 25 * time.Millisecond
)

// Run ends with ctx.
func (c *Clients) Run(ctx context.Context) error {
	var all sync.WaitGroup
	var once sync.Once
	var wrong error
	for i, sv := range c.Services {
		name := c.Names[i%len(c.Names)]
		all.Go(func() { c.connect(ctx, name, sv) })
		all.Go(func() {
			if err := c.pester(ctx, name, sv); err != nil {
				once.Do(func() { wrong = err })
			}
		})
	}
	all.Wait()
	return wrong
}

// draws gives everybody a sequence of chances of his own.
func draws(seed uint64, who string) *rand.Rand {
	f := fnv.New64a()
	fmt.Fprint(f, who) // a hash takes everything
	return rand.New(rand.NewPCG(seed, f.Sum64()))
}

// connect makes one connection after the other, with pauses for services whose targets may sleep.
func (c *Clients) connect(ctx context.Context, name string, sv Service) {
	r := draws(c.Seed, name+sv.Name)
	for ctx.Err() == nil {
		for end := time.Now().Add(3*time.Second + time.Duration(r.Int64N(int64(7*time.Second)))); time.Now().Before(end) && ctx.Err() == nil; {
			c.Gate.pass(func() { c.request(ctx, name, sv, sv.Addrs[r.IntN(len(sv.Addrs))]) })
			pause(ctx, requestEvery)
		}
		if !sv.Sleepers {
			continue
		}
		select {
		case <-c.Calm:
		case <-time.After(3*time.Second + time.Duration(r.Int64N(int64(6*time.Second)))):
		case <-ctx.Done():
		}
	}
}

// request is one connection, as a program makes it that gives up after a while and tries again.
func (c *Clients) request(ctx context.Context, name string, sv Service, addr netip.Addr) {
	limit, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	began := time.Now()
	reply, err := c.Lab.Host(name).Connect(limit, netip.AddrPortFrom(addr, sv.Port))
	if ctx.Err() != nil {
		return // the run's end, not the service's
	}
	q := history.Request{Client: name, Service: sv.Name, Began: began, Ended: time.Now(), Server: reply.Host}
	if err != nil {
		q.Server, q.Err = "", err.Error()
	}
	c.Journal.Do(func(h *history.History) { h.Requests = append(h.Requests, q) })
}

// pester sends datagrams all the time. They wake nobody, and a host whose kernel still lets the identity through gives
// itself away by its answer.
func (c *Clients) pester(ctx context.Context, name string, sv Service) error {
	for _, a := range sv.Addrs {
		if !a.Is4() {
			continue
		}
		conn, err := c.Lab.Host(name).Dial(ctx, "udp", netip.AddrPortFrom(a, sv.Port))
		if err != nil {
			return fmt.Errorf("sending datagrams to %s: %w", sv.Name, err)
		}
		defer conn.Close()
		for ctx.Err() == nil {
			_, _ = conn.Write([]byte("anybody?")) // an error is the answer to an earlier one: nobody is there now
			pause(ctx, datagrams)
		}
	}
	return nil
}

// pause waits, and returns false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/chaos/history"
	"nightporter/cluster"
	"nightporter/fsm"
)

// TestRecoveries: a cluster loses hosts for good, as a person thinks: they are off, suspended, or their cable is out. One that is left is recovered,
// now and then another one, too, while the first is away. Then all come back, in any order, their cable in at first or later. At no instant do two
// hosts hold one service where a frame of theirs could reach anybody; in the end one cluster holds everything, and the others are silent and join it.
func TestRecoveries(t *testing.T) {
	first, most := number(t, "SIM_SEED", 1), number(t, "SIM_SEEDS", 0)
	recovered, twice, yielded := 0, 0, 0
	began := time.Now()
	for n := uint64(0); n < most || (most == 0 && time.Since(began) < slice/4); n++ {
		t.Run(fmt.Sprint(first+n), func(t *testing.T) {
			secret := filepath.Join(t.TempDir(), "secret")
			if err := WriteSecret(secret); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				s := newSalvage(t, first+n, secret)
				s.run()
				recovered, twice, yielded = recovered+s.recovered, twice+s.twice, yielded+s.yielded
			})
		})
	}
	if t.Logf("%d recoveries, %d of them of a cluster that was recovered elsewhere; %d hosts fell silent", recovered, twice, yielded); most == 0 && (recovered < 3 || yielded < 3) {
		t.Error("that proves nothing")
	}
}

// salvage is one run.
type salvage struct {
	t                         *testing.T
	w                         *world
	r                         *rand.Rand
	words                     []string
	recovered, twice, yielded int
	asleep                    map[*machine]bool
	watching                  chan struct{}
	watched                   chan struct{}
	doubles                   map[string]time.Duration // by service: for how long two hosts held it
	when                      map[string]string
	began                     time.Time
}

func newSalvage(t *testing.T, seed uint64, secret string) *salvage {
	p := NewPlan(seed)
	r := rand.New(rand.NewPCG(seed, 0x7265636f))
	p.Hosts, p.Steps, p.Idle, p.Pauses = p.Hosts[:min(len(p.Hosts), pick(r, 2, 2, 3, 3, 4))], nil, 0, 0
	for i := range p.Hosts {
		p.Hosts[i].Sleeper, p.Hosts[i].Witness, p.Hosts[i].Alarm = false, false, 0
	}
	p.Services = p.Services[:1]
	s := &p.Services[0]
	s.Checked, s.Managed, s.Founded, s.Targets = false, false, true, []string{pick(r, p.Hosts...).Name}
	w, err := newWorld(p, secret)
	if err != nil {
		t.Fatal(err)
	}
	if path := os.Getenv("SIM_TRACE"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		w.rec.trace = f
	}
	return &salvage{
		t: t, w: w, r: r, asleep: make(map[*machine]bool), watching: make(chan struct{}), watched: make(chan struct{}),
		doubles: make(map[string]time.Duration), when: make(map[string]string), began: time.Now(),
	}
}

func (s *salvage) tell(f string, args ...any) {
	s.words = append(s.words, fmt.Sprintf("%8.3fs ", time.Since(s.began).Seconds())+fmt.Sprintf(f, args...))
	s.w.rec.tell(f, args...)
}

// some is a random time.
func (s *salvage) some(most time.Duration) time.Duration {
	return time.Duration(s.r.Int64N(int64(most)))
}

func (s *salvage) run() {
	for _, m := range s.w.machines {
		m.start()
	}
	if why := s.w.awaitWhole(); why != "" {
		s.t.Error(why)
	} else {
		go s.watch()
		for range 2 {
			s.round()
		}
		close(s.watching)
		<-s.watched
		for service, long := range s.doubles {
			s.t.Errorf("two hosts held %s for %v: %s", service, long, s.when[service])
		}
	}
	if s.t.Failed() {
		s.t.Log(strings.Join(s.words, "\n"))
	}
	s.w.finish()
}

// watchEvery is the grain of the watch.
const watchEvery = time.Millisecond

// watch looks all the time who could put a frame on the wire.
func (s *salvage) watch() {
	defer close(s.watched)
	for {
		select {
		case <-s.watching:
			return
		case <-time.After(watchEvery):
		}
		held := make(map[string][]string)
		for _, m := range s.w.machines {
			if m.nic.IsUp() {
				for _, service := range m.kernel.open() {
					held[service] = append(held[service], m.name)
				}
			}
		}
		for service, by := range held {
			if len(by) > 1 {
				s.doubles[service] += watchEvery
				if s.when[service] == "" {
					s.when[service] = fmt.Sprintf("%v at first, %.3fs after the start", by, time.Since(s.began).Seconds())
				}
			}
		}
	}
}

// round is one loss, with what a person does about it, and the return of all.
func (s *salvage) round() {
	order := slices.Clone(s.w.machines)
	s.r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	if i := slices.IndexFunc(order, func(m *machine) bool { return !s.alone(m) }); i > 0 { // who has the only vote goes on by itself
		order[0], order[i] = order[i], order[0]
	}
	left, lost := order[0], order[1:]
	time.Sleep(s.some(3 * time.Second))
	for _, m := range lost {
		s.lose(m)
		time.Sleep(s.some(500 * time.Millisecond))
	}
	time.Sleep(s.some(3 * time.Second))
	s.recover(left)
	time.Sleep(s.some(12 * time.Second))
	if s.r.IntN(2) == 0 {
		s.lose(left)
		s.twice += s.recover(lost[0])
		time.Sleep(s.some(12 * time.Second))
	}
	for _, m := range order {
		if time.Sleep(s.some(2 * time.Second)); s.r.IntN(3) == 0 {
			continue // with the next one
		}
		s.comesBack(m)
	}
	for _, m := range order {
		s.comesBack(m)
	}
	s.settle()
}

// alone says whether a host has the only vote, as far as its log goes.
func (s *salvage) alone(m *machine) bool {
	st, err := m.status()
	return err == nil && slices.Equal(st.Quorum.Voters, []string{m.name})
}

// lose takes a host away in one of the ways that look the same from elsewhere.
func (s *salvage) lose(m *machine) {
	way := pick(s.r, "power", "cable", "cable", "suspend")
	s.tell("%s is lost: %s", m.name, way)
	switch way {
	case "power":
		m.powerOff()
	case "cable":
		m.link(false)
	case "suspend":
		s.asleep[m] = m.sleep() != nil
	}
}

// comesBack brings a host back, if it is away. Its cable is in at once, or when its agent has been running for a while.
func (s *salvage) comesBack(m *machine) {
	if m.state() == history.Off {
		if s.r.IntN(2) == 0 {
			m.link(false)
		}
		s.tell("%s is switched on, its cable in: %v", m.name, m.carrier())
		m.powerOn()
		time.Sleep(s.some(6 * time.Second))
	}
	for s.asleep[m] && m.state() != history.Up {
		s.tell("%s wakes", m.name)
		m.call("power button")
		time.Sleep(100 * time.Millisecond)
	}
	s.asleep[m] = false
	if !m.carrier() {
		s.tell("%s has its cable in", m.name)
		m.link(true)
	}
	m.start()
}

// recover does on a host what `nightporter recover` does, all others being away. It gives 1 if that was done.
func (s *salvage) recover(m *machine) int {
	if m.state() != history.Up {
		m.powerOff() // somebody looks into its disk, while it is off
	}
	m.kill(false)
	m.link(true)
	failover := cluster.Derive(s.w.plan.Failover)
	time.Sleep(2*(failover.TTL+failover.Margin) + s.some(4*time.Second))
	err := m.recover(fmt.Sprintf("%016x%016x", s.r.Uint64(), s.r.Uint64()), time.Now().Add(s.some(4*time.Minute)))
	s.tell("recovery on %s: %v", m.name, err)
	s.asleep[m] = false
	m.powerOn()
	m.start()
	if err != nil {
		if !errors.Is(err, errNothingLost) {
			s.t.Error(err)
		}
		return 0
	}
	s.recovered++
	return 1
}

var errNothingLost = errors.New("nothing is to be recovered")

// recover makes a host a cluster of its own. Its agent does not run.
func (m *machine) recover(id string, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	in := func(s *store) cluster.Stores {
		return cluster.Stores{Log: s, Stable: s, Snapshots: s.snaps, Close: func() error { return nil }}
	}
	r, err := cluster.RemainsIn(in(m.disk.raft))
	if err != nil {
		return err
	}
	if m.disk.superseded != nil || slices.Equal(cluster.Voters(r.Servers), []string{m.name}) {
		return errNothingLost
	}
	next, err := fsm.Recover(r.State, r.Index+1, id, r.State.Nodes[m.name].Key, fsm.Recovery{At: now, By: m.name})
	if err != nil {
		return err
	}
	fresh := newStore()
	if err := r.FoundIn(in(fresh), m.name, next); err != nil {
		return err
	}
	m.disk.raft, m.disk.applied = fresh, cluster.Mark{}
	return nil
}

// settle waits until one cluster has all that are not silent, and everything is held; then it has the others join.
func (s *salvage) settle() {
	s.await("one cluster holds everything", func() string {
		ids := make(map[string]bool)
		for _, m := range s.w.machines {
			st, err := m.status()
			if err != nil {
				return m.name + ": " + err.Error()
			}
			if !m.silenced() {
				ids[st.Cluster.ID] = true
			}
		}
		if len(ids) != 1 {
			return fmt.Sprintf("%d clusters", len(ids))
		}
		return s.held()
	})
	for _, m := range s.w.machines {
		if !m.silenced() {
			continue
		}
		s.yielded++
		ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
		err := m.leave(ctx, m.admin())
		cancel()
		s.tell("%s leaves: %v", m.name, err)
	}
	s.await("all are members", func() string {
		if missing := s.w.missing(); missing != "" {
			return missing
		}
		for _, m := range s.w.machines {
			if m.silenced() {
				return m.name + " is silent still"
			}
		}
		return ""
	})
}

// silenced says whether a host knows that its cluster goes on without it.
func (m *machine) silenced() bool {
	m.mu.Lock()
	disk := m.disk
	m.mu.Unlock()
	disk.mu.Lock()
	defer disk.mu.Unlock()
	return disk.superseded != nil
}

func (s *salvage) held() string {
	for _, v := range s.w.plan.Services {
		n := 0
		for _, m := range s.w.machines {
			if slices.Contains(m.kernel.open(), v.Name) {
				n++
			}
		}
		if n != 1 {
			return fmt.Sprintf("%s is open on %d hosts", v.Name, n)
		}
	}
	return ""
}

func (s *salvage) await(what string, missing func() string) {
	why := ""
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if why = missing(); why == "" {
			s.tell("%s", what)
			return
		}
	}
	s.t.Errorf("%s: %s", what, why)
	s.tell("it is not so that %s: %s", what, why)
}

package agent

import (
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
	"nightporter/lease"
	"nightporter/wake"
)

// stopwatch measures one wake, from the demand on, on the clock of the host that runs the campaign. It is pure: what is seen and the
// time are passed in.
type stopwatch struct {
	wake   wake.Wake
	began  lease.Boot
	most   time.Duration // how long to wait, once the node is awake, for the rest
	phases fsm.Phases
}

// sighting is what can be seen of a node that is being woken.
type sighting struct {
	back   bool // it says in gossip that it is awake
	awake  bool // its record says so, too
	ready  bool // the checks pass
	served bool // it has opened the service
}

// see takes in what is seen now. It is true when there is nothing more to measure.
func (s *stopwatch) see(now lease.Boot, what sighting) bool {
	wasAwake := s.phases.Awake != 0
	s.mark(now, &s.phases.Back, what.back || what.awake)
	s.mark(now, &s.phases.Awake, what.awake)
	if s.wake.Service == "" { // an operator's wake, or the quorum's: nobody waits for a service
		return what.awake
	}
	s.mark(now, &s.phases.Ready, what.awake && (what.ready || what.served))
	s.mark(now, &s.phases.Served, what.awake && what.served)
	switch {
	case s.phases.Served != 0:
		return true
	case wasAwake && !what.awake:
		return true // gone again, before it served
	}
	return wasAwake && now.Sub(s.began)-s.phases.Awake > s.most
}

// mark notes the first time of a phase.
func (s *stopwatch) mark(now lease.Boot, phase *time.Duration, is bool) {
	if is && *phase == 0 {
		*phase = max(now.Sub(s.began), 1)
	}
}

// called notes that magic packets left.
func (w *waking) called(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.watches[id]; s != nil {
		s.mark(w.clock.Boot(), &s.phases.Called, true)
	}
}

// measure looks at every wake that is measured.
func (w *waking) measure() {
	w.mu.Lock()
	watched := len(w.watches)
	w.mu.Unlock()
	if watched == 0 {
		return
	}
	v := w.scene.view()
	var done []*stopwatch
	w.mu.Lock()
	for id, s := range w.watches {
		n, known := v.State.Nodes[s.wake.Node]
		switch {
		case !known || n.Sleeps > s.wake.Sleeps: // forgotten, or asleep again before anything was seen
			delete(w.watches, id)
		case s.see(v.Now, w.sight(v, s.wake)):
			done = append(done, s)
			delete(w.watches, id)
		}
	}
	w.mu.Unlock()
	for _, s := range done {
		w.log.Info("wake measured", "node", s.wake.Node, "service", s.wake.Service, "called", s.phases.Called, "back", s.phases.Back,
			"awake", s.phases.Awake, "ready", s.phases.Ready, "served", s.phases.Served)
		w.sample(s, false)
	}
}

// sight looks at one node.
func (w *waking) sight(v cluster.View, k wake.Wake) sighting {
	n, p, own := v.State.Nodes[k.Node], v.Present[k.Node], v.State.Ownerships[k.Service]
	state, _ := v.Readiness(v.State.Services[k.Service], k.Node)
	return sighting{
		back:   p.Alive && p.Power == fsm.Awake && p.Sleeps >= k.Sleeps,
		awake:  p.Alive && n.Power == fsm.Awake,
		ready:  state == cluster.HealthReady,
		served: k.Service != "" && own.Owner == k.Node && w.opens.at(k.Service) >= own.Epoch,
	}
}

// failed ends the measuring of a wake that was given up. Where no packet left it was not the node that failed.
func (w *waking) failed(id string) {
	w.mu.Lock()
	s := w.watches[id]
	delete(w.watches, id)
	w.mu.Unlock()
	if s != nil && s.phases.Called != 0 {
		w.sample(s, true)
	}
}

// sample has it recorded, once all members can read that.
func (w *waking) sample(s *stopwatch, failed bool) {
	c := fsm.MeasureWake{Node: s.wake.Node, Sample: fsm.WakeSample{ID: s.wake.ID, At: w.clock.Wall(), Phases: s.phases, Failed: failed}}
	if w.phases != nil {
		w.phases(c.Node, c.Sample)
	}
	if late := belated(w.machine.View().State, c); len(late) > 0 {
		w.log.Debug("a measured wake is not recorded before all hosts are upgraded", "node", s.wake.Node, "missing", late)
		return
	}
	w.record(c)
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/config"
	"nightporter/fsm"
)

// recorder is a world in which hooks take as long as the test says.
type recorder struct {
	mu    sync.Mutex
	ran   []string
	file  []byte
	takes map[string]time.Duration // by "moment service"
	most  int                      // that ran at one time
	now   int
}

func (r *recorder) do(ctx context.Context, what string) error {
	r.mu.Lock()
	r.now++
	r.most = max(r.most, r.now)
	takes := r.takes[what]
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.now--
	}()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ran = append(r.ran, what)
	return nil
}

func (r *recorder) Run(ctx context.Context, name string, env []string) error {
	if name == "bad" {
		return errors.New("exit status 1")
	}
	var moment, service, epoch, role string
	for _, kv := range env {
		for key, to := range map[string]*string{"EVENT": &moment, "SERVICE": &service, "EPOCH": &epoch, "ROLE": &role} {
			if v, ok := strings.CutPrefix(kv, "NIGHTPORTER_"+key+"="); ok {
				*to = v
			}
		}
	}
	return r.do(ctx, fmt.Sprint(moment, " ", service, epoch, " ", role))
}

func (r *recorder) StartUnit(ctx context.Context, unit string) error { return r.do(ctx, "start "+unit) }

func (r *recorder) StopUnit(ctx context.Context, unit string) error { return r.do(ctx, "stop "+unit) }

func (r *recorder) Load() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.file, nil
}

func (r *recorder) Save(b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file = b
	return nil
}

// took gives what was run since it was asked last.
func (r *recorder) took() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.ran
	r.ran = nil
	return out
}

// hookStage is a host whose tenants are the test's.
type hookStage struct {
	*testing.T
	*stage
	world *recorder
	hooks *hooks
	end   func() // of the loop
}

func onHookStage(t *testing.T, rules config.Hooks, f func(s *hookStage)) {
	onStage(t, func(t *testing.T, st *stage) {
		for i, name := range []string{"web", "nas", "c", "d", "e", "f"} {
			sv := fsm.Service{Name: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(50 + i)})}, MAC: fsm.MAC(net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}), Targets: []string{"b"}, Hold: fsm.HoldDrop, Ports: []fsm.Port{{Protocol: fsm.TCP, Number: 80}}}
			st.raft.must(fsm.PutService{Service: sv})
		}
		s := &hookStage{T: t, stage: st, world: &recorder{takes: map[string]time.Duration{}}}
		s.tenants.all = make(map[string]*tenant)
		for name := range st.machine.View().State.Services {
			s.tenants.all[name] = &tenant{}
			s.tenants.all[name].shown.Store(&tenancy{})
		}
		s.live(rules)
		f(s)
		s.end()
		s.hooks.kill()
		s.hooks.running.Wait()
	})
}

// live begins a life of the agent.
func (s *hookStage) live(rules config.Hooks) {
	if rules.Timeout == 0 {
		rules.Timeout = 30 * time.Second
	}
	s.hooks = newHooks(rules, s.world, 30*time.Second, slog.New(slog.DiscardHandler))
	s.hooks.self, s.hooks.machine, s.hooks.tenants = "b", s.machine, s.tenants
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.hooks.run(ctx) }()
	s.end = func() { cancel(); <-ended }
	synctest.Wait()
}

// dies ends a life as a kill does: what runs is gone.
func (s *hookStage) dies() {
	file := s.world.file
	s.end()
	s.hooks.kill()
	s.hooks.running.Wait()
	s.world.took()
	s.world.file = file
}

// has makes it so that an identity is open here under an epoch; 0 = it is not.
func (s *hookStage) has(service string, epoch uint64, serves bool) {
	s.tenants.all[service].shown.Store(&tenancy{Epoch: epoch, Opened: epoch != 0, Serving: serves})
	s.hooks.bell.ring()
	synctest.Wait()
}

func (s *hookStage) want(want ...string) {
	s.Helper()
	if got := s.world.took(); !slices.Equal(got, want) {
		s.Errorf("%q were run, want %q", got, want)
	}
}

var both = config.Hooks{Acquire: []string{"x"}, Release: []string{"x"}, Units: true}

// A front has no unit; one that becomes a target is told of as another holder.
func TestHooksAndUnits(t *testing.T) {
	onHookStage(t, both, func(s *hookStage) {
		s.has("web", 7, false)
		s.want("acquire web7 front")
		s.has("web", 7, true)
		s.want("release web7 front", "acquire web7 target", "start nightporter-held@web.target")
		s.has("web", 0, true)
		s.want("stop nightporter-held@web.target", "release web7 target")
		s.has("web", 0, true)
		s.want()
	})
}

// What comes and goes while a hook runs is left out, and one service does not wait for another.
func TestHooksThatTakeLong(t *testing.T) {
	onHookStage(t, config.Hooks{Acquire: []string{"x"}, Release: []string{"x"}, Timeout: time.Minute}, func(s *hookStage) {
		s.world.takes["acquire web1 target"] = 40 * time.Second
		s.has("web", 1, true)
		s.has("web", 0, true)
		s.has("web", 3, true)
		s.has("web", 5, true)
		s.has("nas", 2, true)
		s.want("acquire nas2 target")
		time.Sleep(time.Minute)
		s.want("acquire web1 target", "release web1 target", "acquire web5 target")
	})
}

// A host that takes many services over has better to do than to run as many programs.
func TestFewHooksAtOneTime(t *testing.T) {
	onHookStage(t, config.Hooks{Acquire: []string{"x"}}, func(s *hookStage) {
		for name := range s.tenants.all {
			s.world.takes["acquire "+name+"1 target"] = time.Second
			s.has(name, 1, true)
		}
		time.Sleep(time.Minute)
		if n := len(s.world.took()); n != 6 || s.world.most != hookTurns {
			t.Errorf("%d were run, %d at one time", n, s.world.most)
		}
	})
}

// A life that ends in the middle of hooks leaves the next one to run them, whatever else has been told meanwhile; what was told to its end
// is not told again, and an identity that goes on is not either.
func TestTheNextLifeRunsWhatIsMissing(t *testing.T) {
	onHookStage(t, both, func(s *hookStage) {
		for _, name := range []string{"web", "nas", "c"} {
			s.has(name, 1, true)
		}
		s.world.took()
		s.world.takes["release web1 target"] = 20 * time.Second
		s.has("web", 0, true) // its hook hangs
		s.has("nas", 0, true) // and another service is told of and written down
		s.want("stop nightporter-held@web.target", "stop nightporter-held@nas.target", "release nas1 target")
		s.dies()
		delete(s.world.takes, "release web1 target")
		s.live(both)
		s.want("stop nightporter-held@web.target", "release web1 target")
		s.dies()
		s.live(config.Hooks{}) // the file names no hooks any more; a unit of c that was started is stopped with its identity
		s.want()
		s.has("c", 0, true)
		s.want("stop nightporter-held@c.target")
	})
}

// The end of an agent runs what is due, and what takes too long is left to the next life.
func TestTheEndRunsTheReleases(t *testing.T) {
	onHookStage(t, both, func(s *hookStage) {
		s.has("web", 1, true)
		s.has("nas", 1, true)
		s.world.took()
		s.world.takes["release web1 target"] = time.Hour
		s.end()
		for _, name := range []string{"web", "nas"} {
			s.tenants.all[name].shown.Store(&tenancy{})
		}
		began := time.Now()
		s.hooks.finish()
		if took := time.Since(began); took != hooksLinger {
			t.Errorf("it took %v", took)
		}
		got := s.world.took()
		slices.Sort(got)
		if want := []string{"release nas1 target", "stop nightporter-held@nas.target", "stop nightporter-held@web.target"}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		if kept := string(s.world.file); !strings.Contains(kept, `"web"`) || strings.Contains(kept, `"nas"`) {
			t.Errorf("kept: %s", kept)
		}
	})
}

// A suspend waits for release hooks, all together for no longer than for one; not for acquire hooks.
func TestASuspendWaitsForHooks(t *testing.T) {
	onHookStage(t, both, func(s *hookStage) {
		s.world.takes["acquire nas1 target"] = time.Hour
		s.has("nas", 1, true)
		s.has("web", 1, true)
		if !s.hooks.quiet() {
			t.Error("it waits for an acquire hook")
		}
		s.world.takes["release web1 target"] = 3 * time.Second
		s.has("web", 0, true)
		for _, want := range []bool{false, false, false, true} {
			if got := s.hooks.quiet(); got != want {
				t.Errorf("after %v: %t", time.Since(s.hooks.waits), got)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		s.has("web", 3, true)
		s.world.takes["release web3 target"] = time.Hour
		s.has("web", 0, true)
		if s.hooks.quiet() {
			t.Error("it does not wait")
		}
		time.Sleep(hooksLinger)
		if !s.hooks.quiet() {
			t.Error("it waits for ever")
		}
	})
}

// A failure is told until a later run makes it good, the service is gone, or a day is over.
func TestTheTroubleOfHooks(t *testing.T) {
	onHookStage(t, config.Hooks{Acquire: []string{"bad"}}, func(s *hookStage) {
		s.has("web", 1, true)
		if p := s.hooks.problems(); len(p) != 1 || p[0] != "the hook bad for acquire of web failed: exit status 1" {
			t.Errorf("%q", p)
		}
		time.Sleep(troubleLasts + time.Second)
		if p := s.hooks.problems(); len(p) != 0 {
			t.Errorf("a day later: %q", p)
		}
		s.has("nas", 1, true)
		s.has("nas", 0, true)
		s.raft.must(fsm.DeleteService{Name: "nas"})
		s.hooks.bell.ring()
		synctest.Wait()
		if p := s.hooks.problems(); len(p) != 0 {
			t.Errorf("of a service that is gone: %q", p)
		}
	})
}

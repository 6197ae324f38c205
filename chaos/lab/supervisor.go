package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"nightporter/internal/mutant"
)

// supervisor is everything inside the lab's namespaces.
type supervisor struct {
	bench    *bench
	log      *slog.Logger
	group    string // the lab's control group; "" = none
	limits   []string
	nodes    []*node
	listener *net.UnixListener
	running  sync.WaitGroup // the nodes and the reaper
	stop     context.CancelFunc
	ended    error // of the nodes, after running.Wait
	mu       sync.Mutex
	down     chan struct{} // closed by the verb down
	once     sync.Once
}

// build makes the switch, the hosts and the clients, and switches all of them on. On an error nothing is tidied up: the
// process ends, and the kernel does it.
func build(o Options, outside, group string, log *slog.Logger) (*supervisor, error) {
	inside, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("look at the lab's network namespace: %w", err)
	}
	if inside == outside || outside == "" {
		return nil, errors.New("the supervisor runs in the machine's own network namespace and touches nothing; start it with `nightporter lab up`")
	}
	s := &supervisor{log: log, group: group, down: make(chan struct{})}
	s.bench = &bench{options: o, reaper: newReaper(), env: environment(o.Dir)}
	if err := s.isolate(); err != nil {
		return nil, err
	}
	if err := s.layOut(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { s.bench.reaper.run(ctx) })
	if s.bench.fabric, err = newFabric(o.Switch); err != nil {
		return nil, err
	}
	s.bench.panel = &patchPanel{fabric: s.bench.fabric}
	if err := s.addNodes(ctx); err != nil {
		return nil, err
	}
	// The socket comes last: whoever can connect finds a lab that is complete.
	s.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(o.Dir, socketName), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	return s, nil
}

// isolate keeps every mount of the lab inside, and gives it a /proc of its own PID namespace.
func (s *supervisor) isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the lab's mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		// A container that masks parts of /proc does not allow it. Everything works, `ps` in a host shows too much.
		s.limits = append(s.limits, fmt.Sprintf("hosts see the machine's processes in /proc: it cannot be mounted here (%v)", err))
	}
	return nil
}

// environment is what programs in hosts get: the owner's, with nightporter in the PATH.
func environment(dir string) []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	env := []string{"PATH=" + filepath.Join(dir, "bin") + ":" + path}
	keys := []string{"HOME", "LANG", "LC_ALL", "TERM", "TMPDIR", "USER", "GOCOVERDIR", "GORACE", "GOTRACEBACK", "GODEBUG"}
	for _, key := range append(keys, mutant.Environment()...) {
		if value, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// layOut writes the lab's directory.
func (s *supervisor) layOut() error {
	o := s.bench.options
	dirs := []string{"bin"}
	for k := 1; k <= o.Hosts; k++ {
		dirs = append(dirs, filepath.Join("hosts", hostName(k), "data"))
	}
	for k := 1; k <= o.Clients; k++ {
		dirs = append(dirs, filepath.Join("hosts", clientName(k)))
	}
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(o.Dir, d), 0o700); err != nil {
			return fmt.Errorf("make the lab's directory: %w", err)
		}
	}
	if err := os.Symlink(o.Binary, s.bench.program()); err != nil {
		return fmt.Errorf("link the nightporter program: %w", err)
	}
	return writeConfig(o)
}

// addNodes makes all hosts and clients and switches them on, all at the same time as after a power cut.
func (s *supervisor) addNodes(ctx context.Context) error {
	o := s.bench.options
	for k := 1; k <= o.Hosts; k++ {
		if err := s.addNode(ctx, hostPlug(k), o.policy(k) == "sleeps"); err != nil {
			return err
		}
	}
	for k := 1; k <= o.Clients; k++ {
		if err := s.addNode(ctx, clientPlug(k), false); err != nil {
			return err
		}
	}
	var boots errgroup.Group
	for _, n := range s.nodes {
		boots.Go(func() error { return n.do(ctx, n.boot) })
	}
	if err := boots.Wait(); err != nil {
		return err
	}
	for _, n := range s.nodes[:1] {
		s.limits = append(s.limits, n.space.limits...) // the same for all
	}
	return nil
}

func (s *supervisor) addNode(ctx context.Context, p plug, sleeper bool) error {
	n, err := newNode(p, sleeper, s.group, s.bench, s.log)
	if err != nil {
		return err
	}
	s.nodes = append(s.nodes, n)
	s.running.Go(func() {
		if err := n.run(ctx); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ended = errors.Join(s.ended, fmt.Errorf("switch off %s: %w", n.name, err))
		}
	})
	return nil
}

// run serves the control socket until ctx ends or somebody says down.
func (s *supervisor) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel() // before the wait
	stop := context.AfterFunc(ctx, func() { s.listener.Close() })
	defer stop()
	go func() {
		select {
		case <-s.down:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		c, err := s.listener.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a control connection: %w", err)
		}
		open.Go(func() { s.serve(ctx, c) })
	}
}

// close switches everything off.
func (s *supervisor) close() {
	s.stop()
	s.running.Wait()
	s.bench.fabric.close()
	if s.ended != nil {
		s.log.Warn("not everything ended in order; the kernel ends the rest", "err", s.ended)
	}
}

// node finds a node by name.
func (s *supervisor) node(name string) (*node, error) {
	for _, n := range s.nodes {
		if n.name == name {
			return n, nil
		}
	}
	o := s.bench.options
	return nil, fmt.Errorf("the lab has no host %q; it has h1 to h%d and c1 to c%d", name, o.Hosts, o.Clients)
}

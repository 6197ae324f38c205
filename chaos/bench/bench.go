package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// Options say what to measure.
type Options struct {
	Version string // of the program, for the report
	Binary  string // the program that the labs run; "" = the running one
	Runs    int    // of the rows that promise medians and maxima
	Slow    int    // of those that take longer: a leader that holds, keepalived with slow adverts
	Idle    time.Duration
	Only    []string // names of tables; nil = all
	// Say gets a line now and then while it works.
	Say func(string)
}

// Report is everything that was measured, with what a reader needs to judge it.
type Report struct {
	Version    string    `json:"version"`
	Commit     string    `json:"commit,omitempty"` // where the program knows it
	Kernel     string    `json:"kernel"`
	CPUs       int       `json:"cpus"`
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended"`
	LoadBefore string    `json:"load_before"` // of 1, 5 and 15 minutes
	LoadAfter  string    `json:"load_after"`
	Tables     []Table   `json:"tables"`
}

// experiment is one table.
type experiment struct {
	name string
	run  func(context.Context, *Options) (Table, error)
}

func experiments() []experiment {
	return []experiment{
		{"crash", func(ctx context.Context, o *Options) (Table, error) { return crash(ctx, o, time.Second) }},
		{"crash-300ms", func(ctx context.Context, o *Options) (Table, error) { return crash(ctx, o, 300*time.Millisecond) }},
		{"move", move},
		{"many", many},
		{"wake", wake},
		{"replay", replay},
		{"idle", idle},
		{"fence", fence},
	}
}

// Names lists the tables.
func Names() []string {
	var out []string
	for _, e := range experiments() {
		out = append(out, e.name)
	}
	return out
}

// Check says in one sentence what cannot be measured.
func (o Options) Check() error {
	for _, name := range o.Only {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("there is no table %q; choose from %s", name, strings.Join(Names(), ", "))
		}
	}
	if o.Runs < 1 || o.Slow < 1 || o.Idle <= 0 {
		return fmt.Errorf("%d and %d runs and an idle time of %v cannot be measured; give at least one run and a time above zero", o.Runs, o.Slow, o.Idle)
	}
	return nil
}

// Run measures. On an error it gives what it has until then; every lab is gone when it returns.
func Run(ctx context.Context, o Options) (Report, error) {
	if err := o.Check(); err != nil {
		return Report{}, err
	}
	r := Report{Version: o.Version, Commit: commit(), Kernel: kernel(), CPUs: runtime.NumCPU(), Began: time.Now().UTC(), LoadBefore: load()}
	var err error
	for _, e := range experiments() {
		if o.Only != nil && !slices.Contains(o.Only, e.name) {
			continue
		}
		var t Table
		t, err = e.run(ctx, &o)
		if t.measured() {
			t.Name = e.name
			r.Tables = append(r.Tables, t)
		}
		if ctx.Err() != nil { // what it made of the measurement that it met is no news
			err = fmt.Errorf("the measurement was interrupted: %w", context.Cause(ctx))
			break
		}
		if err != nil {
			err = fmt.Errorf("table %s: %w", e.name, err)
			break
		}
	}
	r.Ended, r.LoadAfter = time.Now().UTC(), load()
	return r, err
}

func (o *Options) say(format string, args ...any) {
	if o.Say != nil {
		o.Say(fmt.Sprintf(format, args...))
	}
}

// commit is what the go command has written into the running program; "" = nothing, as with -buildvcs=false.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = " and changes"
		}
	}
	return revision + changed
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	f := strings.Fields(string(raw))
	return strings.Join(f[:min(3, len(f))], " ")
}

// webPort is where clients find the labs' service.
func webPort() netip.AddrPort { return netip.AddrPortFrom(lab.ServiceAddr(), lab.ServerPort) }

// building is what a lab may take to build or to take down, patience what one wait may take: both are there to end a
// measurement that will not end.
const (
	building = 30 * time.Second
	patience = 60 * time.Second
)

// inLab builds a lab, runs f in it, and takes it down whatever happens.
func inLab(ctx context.Context, lo lab.Options, f func(context.Context, *lab.Lab) error) (err error) {
	up, cancel := context.WithTimeoutCause(ctx, building, fmt.Errorf("the lab was not built within %v", building))
	defer cancel()
	l, err := lab.Up(up, lo)
	if err != nil {
		return err
	}
	defer func() {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), building)
		defer cancel()
		if derr := l.Down(down); err == nil {
			err = derr
		}
	}()
	return f(ctx, l)
}

// until waits for a condition, which says what is missing, or "".
func until(ctx context.Context, what string, missing func(context.Context) string) error {
	return within(ctx, patience, what, missing)
}

func within(ctx context.Context, limit time.Duration, what string, missing func(context.Context) string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		m := missing(ctx)
		if m == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w (%s)", what, ctx.Err(), m)
		case <-look.C:
		}
	}
}

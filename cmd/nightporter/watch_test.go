package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"nightporter/api"
)

// sixServices is a status of five hosts and six services with two things wrong.
func sixServices(now time.Time) api.Status {
	s := api.Status{
		Node: "workshop", Time: now, Version: "v0.2", Cluster: api.Cluster{ID: "1", Name: "home"}, Leader: "pi", Failover: api.Duration(time.Second),
		Quorum: api.Quorum{Voters: []string{"pi", "nas", "workshop"}, Awake: []string{"pi", "workshop"}, Needed: 2, Have: true}, Known: api.Known{Index: 123456, Current: true},
		Troubles: []api.Trouble{
			{What: "CANNOT BE WOKEN: bigbox could not be woken from its last sleep (called 12 times in 15s): look at the firmware's settings, the cable and the switch's port"},
			{What: "node attic is not in touch", Do: "look whether it is on and its agent runs; `nightporter wake attic` calls it, `nightporter forget attic` takes out a host that is gone for good"},
		},
	}
	for i, name := range []string{"web", "nas-files", "media", "git", "backup", "photos"} {
		s.Services = append(s.Services, api.ServiceStatus{
			Service: api.Service{Name: name, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.200")}}, Owner: "workshop", OwnerState: "holding", Epoch: uint64(100 + i),
			Reason: "operator-moved", Since: now.Add(-time.Duration(i) * 20 * time.Hour), Holder: api.Holder{Lease: "granted", Fence: "presumed-open"},
		})
	}
	for i, name := range []string{"attic", "bigbox", "nas", "pi", "workshop"} {
		n := api.NodeStatus{Name: name, Alive: i > 2, Power: "awake", PowerReason: "suspended-by-others", Since: now.Add(-48 * time.Hour), Policy: "sleeps", Voter: i > 1, Leader: name == "pi", LastSeen: now.Add(-26 * time.Hour)}
		if name == "bigbox" || name == "nas" {
			n.Power = "suspending"
		}
		n.WakeFitness = &api.WakeFitness{MaySleep: name == "nas", CannotBeWoken: name == "bigbox"}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

func TestStatusFitsOneScreen(t *testing.T) {
	now := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
	for _, width := range []int{80, 100} {
		var p page
		drawStatus(&p, sixServices(now), screen{terminal: true, width: width}, false)
		lines := strings.Split(strings.TrimSuffix(p.buf.String(), "\n"), "\n")
		if len(lines) > 24 {
			t.Errorf("it has %d lines", len(lines))
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > width {
				t.Errorf("%d columns: %s", utf8.RuneCountInString(l), l)
			}
		}
		if !strings.HasPrefix(lines[1], "! CANNOT BE WOKEN") {
			t.Errorf("what is wrong does not stand first: %s", lines[1])
		}
		for _, want := range []string{"nas-files  workshop holds", "105", "open?", "granted", "LOST", "leader", "11-20 02:00", "untested"} {
			if !strings.Contains(p.buf.String(), want) {
				t.Errorf("%q is not on the screen:\n%s", want, p.buf.String())
			}
		}
	}
}

// A host that is cut off says how old it is what it tells, and what it does not know.
func TestStatusOfAHostThatIsCutOff(t *testing.T) {
	s := sixServices(since)
	s.Leader, s.Known = "", api.Known{Index: 7, Age: api.Duration(90 * time.Second)}
	s.Services[0].Holder = api.Holder{Lease: "unknown", Fence: "unknown"}
	s.Services[1].Owner, s.Services[1].OwnerState, s.Services[1].Holder = "", "none", api.Holder{Lease: "none", Fence: "none"}
	s.Services[2].Holder = api.Holder{Lease: "silent", Fence: "unknown"}
	var p page
	drawStatus(&p, s, screen{width: 80}, false)
	for _, want := range []string{"leader none", "as of 1m30s ago (entry 7)", "?      ?", "NOBODY", "SILENT"} {
		if !strings.Contains(strings.Join(strings.Fields(p.buf.String()), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is not on the screen:\n%s", want, p.buf.String())
		}
	}
}

// Right after an upgrade the command may be newer than the daemon.
func TestStatusOfAnOlderDaemon(t *testing.T) {
	s := sixServices(time.Time{})
	s.Troubles, s.Problems, s.Known = nil, []string{"node attic is not in touch"}, api.Known{}
	var p page
	drawStatus(&p, s, screen{}, true)
	if text := p.buf.String(); !strings.Contains(text, "\n! node attic is not in touch\n") || strings.Contains(text, "nothing is wrong") || strings.Contains(text, "0001-01-01") {
		t.Errorf("it says\n%s", text)
	}
}

// story is a fakeAgent whose events and status come when the test says so.
type story struct {
	*fakeAgent
	events chan api.Events
	status chan api.Watched
	asked  chan api.EventsQuery
}

func newStory() *story {
	return &story{newFake(), make(chan api.Events), make(chan api.Watched), make(chan api.EventsQuery, 100)}
}

func (s *story) Events(ctx context.Context, q api.EventsQuery) (api.Events, error) {
	s.asked <- q
	select {
	case e := <-s.events:
		return e, nil
	case <-ctx.Done():
		return api.Events{}, ctx.Err()
	}
}

func (s *story) Watch(ctx context.Context, _ api.WatchQuery) (api.Watched, error) {
	select {
	case w := <-s.status:
		return w, nil
	case <-ctx.Done():
		return api.Watched{}, ctx.Err()
	}
}

// serveStory starts a daemon at a socket; stop ends it.
func serveStory(t *testing.T, socket string, b api.Backend) (stop func()) {
	t.Helper()
	l, err := api.Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewServer(b, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(s.Close(ctx), <-done); err != nil {
			t.Error(err)
		}
	})
}

// wire is an output that tells when something was written.
type wire struct {
	mu  sync.Mutex
	buf bytes.Buffer
	new chan struct{}
}

func newWire() *wire { return &wire{new: make(chan struct{}, 1)} }

func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.new <- struct{}{}:
	default:
	}
	return w.buf.Write(b)
}

func (w *wire) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// has waits until the output has something.
func (w *wire) has(t *testing.T, want string) {
	t.Helper()
	end := time.NewTimer(20 * time.Second)
	defer end.Stop()
	for !strings.Contains(w.String(), want) {
		select {
		case <-w.new:
		case <-end.C:
			t.Fatalf("%q does not come; the output is\n%s", want, w.String())
		}
	}
}

// A command that runs until it is interrupted.
func running(t *testing.T, socket string, args ...string) (out, errs *wire, interrupt func()) {
	t.Helper()
	out, errs = newWire(), newWire()
	ctx, cancel := context.WithCancel(t.Context())
	sh := &shell{out: out, err: errs, in: strings.NewReader(""), getenv: func(string) string { return "" }}
	done := make(chan int, 1)
	go func() { done <- run(ctx, sh, append([]string{"--socket", socket}, args...)) }()
	return out, errs, func() {
		t.Helper()
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("after an interrupt the exit code is %d: %s", code, errs)
		}
	}
}

func shortSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "np") // the path of a unix socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func told(index uint64) api.Events {
	return api.Events{Events: []api.Event{{Index: index, At: since, Kind: "setting", Sentence: fmt.Sprint("event ", index)}}, Cursor: api.Cursor{Index: index, Number: index - 1}}
}

// Who follows sees each event once, over a restart of the daemon too, which is said; what the daemon does not keep any more is said as well.
func TestFollowingOverARestart(t *testing.T) {
	s, socket := newStory(), shortSocket(t)
	stop := serveStory(t, socket, s)
	defer func() { stop() }()
	out, errs, interrupt := running(t, socket, "events", "--follow", "--kind", "setting")
	s.events <- told(7)
	out.has(t, "event 7\n")
	s.events <- told(8)
	out.has(t, "event 8\n")
	stop()
	errs.has(t, "waiting for the daemon")
	stop = serveStory(t, socket, s)
	gap := told(20)
	gap.Gap, gap.Skipped = true, 11
	s.events <- gap
	out.has(t, "event 20\n")
	errs.has(t, "the daemon answers again")
	interrupt()
	want := "2026-01-02 03:04:05.678  setting  event 7\n2026-01-02 03:04:05.678  setting  event 8\n" +
		"...                      gap      11 events were skipped: older than what is kept\n2026-01-02 03:04:05.678  setting  event 20\n"
	if out.String() != want {
		t.Errorf("the output is\n%swant\n%s", out, want)
	}
	first, second := <-s.asked, <-s.asked
	if first.Last != followLast || first.Wait != 0 || first.Kinds[0] != "setting" {
		t.Errorf("asked first %+v", first)
	}
	if second.Last != 0 || second.Wait == 0 || second.Cursor != (api.Cursor{Index: 7, Number: 6}) || second.Kinds[0] != "setting" {
		t.Errorf("asked then %+v", second)
	}
}

func TestWatchingAsTextAndJSON(t *testing.T) {
	for _, tc := range []struct {
		args  []string
		first string
		again string
	}{
		{[]string{"status", "--watch"}, "cluster one, seen from", "\n\ncluster two, seen from"},
		{[]string{"status", "-w", "-o", "json"}, `{"node":"","time":`, "}\n{\"node\":\"\""},
	} {
		s, socket := newStory(), shortSocket(t)
		stop := serveStory(t, socket, s)
		out, _, interrupt := running(t, socket, tc.args...)
		s.status <- api.Watched{Mark: "1", Status: api.Status{Cluster: api.Cluster{Name: "one"}}}
		out.has(t, tc.first)
		before := out.String()
		s.status <- api.Watched{Mark: "1", Status: api.Status{Cluster: api.Cluster{Name: "one, older"}}} // nothing is new
		s.status <- api.Watched{Mark: "2", Status: api.Status{Cluster: api.Cluster{Name: "two"}}}
		out.has(t, tc.again)
		if strings.Contains(out.String(), "older") || !strings.HasPrefix(out.String(), before) {
			t.Errorf("what did not change was shown again:\n%s", out)
		}
		interrupt()
		stop()
	}
}

// At a terminal each picture takes the place of the one before, and is as wide as that.
func TestWatchingAtATerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 60}); err != nil {
		t.Fatal(err)
	}
	shown := newWire()
	go func() { // ends with the terminal
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if _, werr := shown.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	}()
	s, socket := newStory(), shortSocket(t)
	defer serveStory(t, socket, s)()
	ctx, cancel := context.WithCancel(t.Context())
	sh := &shell{out: terminal, err: terminal, in: strings.NewReader(""), getenv: func(string) string { return "" }}
	done := make(chan int, 1)
	go func() { done <- run(ctx, sh, []string{"--socket", socket, "status", "--watch"}) }()
	s.status <- api.Watched{Mark: "1", Status: sixServices(since)}
	shown.has(t, "bigbox")
	later := sixServices(since)
	later.Cluster.Name = "later"
	s.status <- api.Watched{Mark: "2", Status: later}
	shown.has(t, "\x1b[Hcluster later")
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	text := shown.String()
	picture := text[strings.LastIndex(text, "\x1b[H"):]
	if n := strings.Count(picture, "\n"); n != 19 || !strings.Contains(picture, "more lines") {
		t.Errorf("a picture of %d lines on a terminal of 20", n)
	}
	if !strings.HasPrefix(text, "\x1b[Hcluster home") && !strings.HasPrefix(text, "\x1b[H\x1b[2Jcluster home") {
		t.Errorf("it begins with %q", text[:min(len(text), 40)])
	}
	for line := range strings.Lines(text) {
		if plain := strings.NewReplacer("\x1b[H", "", "\x1b[2J", "", "\x1b[K", "", "\x1b[J", "", "\r", "", "\n", "").Replace(line); utf8.RuneCountInString(plain) > 60 {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(plain), plain)
		}
	}
}

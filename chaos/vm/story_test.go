//go:build vm

package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"nightporter/api"
)

// stories is how often the host goes to sleep by itself and is woken by a client.
const stories = 3

// One machine, since its boot is what takes long; the parts follow each other as on one host's day.
func TestAHostThatTrulySleeps(t *testing.T) {
	w := build(t, plain)
	w.sound()
	c := w.session()
	for n := range stories {
		if n == 1 {
			w.story("nobody needs it", nil, func() string { return w.goOn(c) })
			continue
		}
		w.story("nobody needs it", nil, w.connects)
	}
	w.say(c, "at last")
	w.stay()
	w.story("somebody suspends it", w.command, w.connects)
	w.story("its power key is pressed", w.powerKey, w.connects)
	w.throughSystemd(stories + 2)
	w.missed()
	w.moment()
	w.control()
	w.judge(2*stories + 7) // the machine's first turn; away and back in each story, in the two suspends by others, and in missed
}

// sound wants the guest to be what a person would have who followed the README: every unit runs, within its walls, with the exact fence.
func (w *world) sound() {
	w.Helper()
	if _, err := w.shell.run(w.limit(), "systemctl is-system-running --wait"); err != nil {
		out, _ := w.shell.run(w.limit(), "systemctl --failed --no-legend")
		w.Fatalf("not all units of the guest run: %s", out)
	}
	var st api.Status
	w.await("the guest holds the identity with the exact fence", func() string {
		if st = w.guestStatus(); len(st.Services) != 1 || st.Services[0].Fence.Kind != "bpf" {
			return fmt.Sprintf("%+v", st.Services)
		}
		return ""
	})
	for _, p := range st.Problems {
		if !strings.Contains(p, "another configuration file") { // it has no laboratory's paths
			w.Errorf("the guest's agent has a problem: %s", p)
		}
	}
}

// guestStatus is what `nightporter status` says in the guest.
func (w *world) guestStatus() (st api.Status) {
	w.Helper()
	out, err := w.shell.run(w.limit(), "nightporter status -o json")
	w.must(err)
	w.must(json.Unmarshal([]byte(out), &st))
	return st
}

// throughSystemd wants that the guest's systemd, which logind asks, carried out so many suspends.
func (w *world) throughSystemd(n int) {
	w.Helper()
	out, err := w.shell.run(w.limit(), "journalctl -b -q -u systemd-suspend.service -o cat --no-pager | grep -c 'Entering sleep state'")
	if err != nil || out != strconv.Itoa(n) {
		w.Errorf("systemd suspended the guest %q times (%v), want %d", out, err, n)
	}
}

// count gives how often the machine has suspended and resumed.
func (w *world) count() (suspends, wakeups int) {
	w.nic.mu.Lock()
	defer w.nic.mu.Unlock()
	return len(w.nic.suspends), len(w.nic.wakeups)
}

// awaitSuspend waits for the machine's nth suspend and gives its time.
func (w *world) awaitSuspend(n int) (at time.Time) {
	w.Helper()
	w.awaitNIC("the machine suspends", func(c *nic) bool {
		if len(c.suspends) < n {
			return false
		}
		at = c.suspends[n-1]
		return true
	})
	return at
}

func (w *world) awaitWakeup(n int) (at time.Time) {
	w.Helper()
	w.awaitNIC("the machine resumes", func(c *nic) bool {
		if len(c.wakeups) < n {
			return false
		}
		at = c.wakeups[n-1]
		return true
	})
	return at
}

// story is that of the demo: the host hands over and sleeps; a client is left waiting, wakes it and is served. The host sleeps by itself, or others
// suspend it: its agent hears of that by its lock of logind.
func (w *world) story(why string, sleep func() <-chan error, client func() (what string)) {
	w.Helper()
	asleep, awake := w.count()
	if sleep != nil {
		w.awaitOwner("serving", place)
		told := sleep()
		defer func() { w.must(<-told) }()
	}
	at := w.awaitSuspend(asleep + 1)
	front := w.awaitOwner("holding", "h1", "h2")
	last := w.lastChange()
	if last.To != front || !last.At.Before(at) {
		w.Errorf("the log gave web to %s at %v, and the machine suspended at %v: not before that", last.To, last.At, at)
	}
	w.seen(at)
	if w.uses(front, last.At, at) == 0 {
		w.Errorf("%s used the identity in no frame between its record at %v and the machine's suspend at %v", front, last.At, at)
	}
	came := time.Now()
	what := client()
	woken := w.awaitWakeup(awake + 1)
	if woken.Before(came) {
		w.Errorf("the machine resumed at %v, before the client came at %v", woken, came)
	}
	w.awaitOwner("serving", place)
	back := w.lastChange()
	w.seen(time.Now())
	if n := w.claims(at, back.At); n != 0 {
		w.Errorf("the machine used the identity in %d runs of frames between its suspend at %v and its new record at %v", n, at, back.At)
	}
	w.Logf("%s (%s): the front %s calls after %v; the machine resumes after %v (%s); %s", why, last.Reason, front, w.magicAfter(came).Sub(came).Round(10*time.Microsecond),
		woken.Sub(came).Round(10*time.Microsecond), w.lastMagic(), what)
}

// command is `systemctl suspend`, typed in the guest.
func (w *world) command() <-chan error {
	w.Helper()
	w.awaitLock()
	return w.tell("systemctl suspend")
}

// powerKey is the machine's own; the guest's logind is configured to suspend then.
func (w *world) powerKey() <-chan error {
	w.Helper()
	w.awaitLock()
	told := make(chan error, 1)
	told <- w.monitor.command(w.limit(), "system_powerdown")
	return told
}

// awaitLock waits until the agent has its lock of logind, which gives none while it is busy with the end of the last suspend.
func (w *world) awaitLock() {
	w.Helper()
	w.await("the agent has a delay lock", func() string {
		out, err := w.shell.run(w.limit(), "systemd-inhibit --list --no-legend")
		w.must(err)
		for line := range strings.Lines(out) {
			if strings.Contains(line, "nightporter") && strings.Contains(line, "delay") {
				return ""
			}
		}
		return out
	})
}

// connects is a client that connects once, with whatever its kernel makes of that.
func (w *world) connects() string {
	w.Helper()
	r, err := w.lab.Client(1).Connect(w.limit(), door)
	if err != nil || r.Host != self {
		w.Fatalf("the client was answered by %q: %v", r.Host, err)
	}
	return fmt.Sprintf("connect() completes after %v, answered after %v", r.Connected.Round(time.Millisecond), r.Answered.Round(time.Millisecond))
}

// session is a connection that is to outlive the sleeps.
func (w *world) session() net.Conn {
	w.Helper()
	c, err := w.lab.Client(1).Dial(w.limit(), "tcp", door)
	w.must(err)
	w.Cleanup(func() { c.Close() })
	w.say(c, "hello")
	return c
}

// say wants a word back from the guest's server.
func (w *world) say(c net.Conn, word string) {
	w.Helper()
	w.must(c.SetDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(c, word+"\n")
	w.must(err)
	back, err := bufio.NewReader(c).ReadString('\n')
	w.must(err)
	if back != self+" "+word+"\n" {
		w.Errorf("%q came back as %q", word, back)
	}
}

// goOn speaks on a connection from before the sleep.
func (w *world) goOn(c net.Conn) string {
	w.Helper()
	began := time.Now()
	w.say(c, "still there?")
	return fmt.Sprintf("a connection from before the sleep goes on after %v", time.Since(began).Round(time.Millisecond))
}

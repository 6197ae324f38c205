package login

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// link listens until the end of the test.
func link(t *testing.T, l *Logind) *Link {
	t.Helper()
	k, err := l.Link(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// next is the event that must come now.
func next(t *testing.T, k *Link, want Event) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case e, open := <-k.Events():
		if e != want {
			t.Fatalf("logind says %v (%v), want %v", e, open, want)
		}
	case <-limit.C:
		t.Fatalf("logind does not say %v", want)
	}
}

// suspend is what a closed lid or `systemctl suspend` has logind do.
func suspend(t *testing.T, l *Logind) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	must(t, l.conn.Object(login1, login1Path).Call(login1Manager+".Suspend", 0, false).Err)
}

// delays lists who has a lock that delays a sleep, as anybody can see it.
func delays(t *testing.T, l *Logind) (who []string) {
	t.Helper()
	var all []struct {
		What, Who, Why, Mode string
		User, Process        uint32
	}
	must(t, l.ask(t.Context(), login1Path, login1Manager+".ListInhibitors", nil, &all))
	for _, a := range all {
		if a.What == "sleep" && a.Mode == "delay" && a.Process == uint32(os.Getpid()) {
			who = append(who, a.Who+": "+a.Why)
		}
	}
	return who
}

// A real suspend by a real logind waits for the lock, and goes on when that is given back; logind says both.
func TestASuspendWaitsForTheLock(t *testing.T) {
	m := newMachine(t)
	k := link(t, m.Logind)
	longest, err := k.DelayMax(t.Context())
	if err != nil || longest != delayMax {
		t.Fatal(longest, err)
	}
	if answer, err := m.Can(t.Context(), "CanSuspend"); err != nil || answer != "yes" {
		t.Errorf("CanSuspend: %q, %v", answer, err)
	}
	if answer, err := m.Can(t.Context(), "CanHibernate"); err != nil || answer != "na" {
		t.Errorf("CanHibernate: %q, %v", answer, err)
	}
	for range 2 { // once more after the resume
		lock, err := k.Delay(t.Context(), "nightporter", "it hands over")
		must(t, err)
		if d := delays(t, m.Logind); len(d) != 1 || d[0] != "nightporter: it hands over" {
			t.Errorf("logind knows of %q", d)
		}
		must(t, errors.Join(os.WriteFile(m.slept, nil, 0o644)))
		suspend(t, m.Logind)
		next(t, k, Sleeping)
		if _, err := k.Delay(t.Context(), "late", "too late"); err == nil {
			t.Error("a lock was given in the middle of a suspend")
		}
		if b, err := os.ReadFile(m.slept); err != nil || len(b) > 0 {
			t.Fatalf("the host went to sleep with the lock held: %q, %v", b, err)
		}
		must(t, lock.Close())
		next(t, k, Resumed)
		if b, err := os.ReadFile(m.slept); err != nil || string(b) != "slept\n" {
			t.Fatalf("what was done for the suspend: %q, %v", b, err)
		}
	}
	if d := delays(t, m.Logind); len(d) != 0 {
		t.Errorf("at the end logind knows of %q", d)
	}
}

// A lock that is not given back delays for as long as logind says, and no longer.
func TestALockOnlyDelays(t *testing.T) {
	m := newMachine(t)
	k := link(t, m.Logind)
	lock, err := k.Delay(t.Context(), "nightporter", "it hands over")
	must(t, err)
	defer lock.Close()
	suspend(t, m.Logind)
	next(t, k, Sleeping)
	began := time.Now()
	next(t, k, Resumed)
	if took := time.Since(began); took < delayMax-delayMax/5 {
		t.Errorf("logind went on after %v", took)
	}
	if b, err := os.ReadFile(m.slept); err != nil || string(b) != "slept\n" {
		t.Errorf("what was done for the suspend: %q, %v", b, err)
	}
}

// Who listens hears that logind has ended and is back, and that the bus has.
func TestLogindComesAndGoes(t *testing.T) {
	m := newMachine(t)
	k := link(t, m.Logind)
	lock, err := k.Delay(t.Context(), "nightporter", "it hands over")
	must(t, err)
	m.restart()
	next(t, k, Changed)
	next(t, k, Changed)
	must(t, lock.Close())
	var again io.Closer
	await(t, "the new logind gives a lock", func() bool {
		again, err = k.Delay(t.Context(), "nightporter", "once more")
		return err == nil
	})
	defer again.Close()
	await(t, "it is the only one", func() bool {
		d := delays(t, m.Logind)
		return len(d) == 1 && d[0] == "nightporter: once more"
	})
	suspend(t, m.Logind)
	next(t, k, Sleeping)
	must(t, again.Close())
	next(t, k, Resumed)
}

// On a bus without logind one can listen and wait; what others say in its name is not heard; and the end of the bus is.
func TestAListenerWithoutLogind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	c := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1", "--address=unix:path="+path)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	stopped := make(chan struct{})
	stop := func() { _ = c.Process.Kill(); _ = c.Wait() } // it is killed
	defer func() {
		select {
		case <-stopped:
		default:
			stop()
		}
	}()
	_, err = out.Read(make([]byte, 256))
	must(t, err)
	l := &Logind{Address: "unix:path=" + path}
	k := link(t, l)
	if _, err := k.DelayMax(t.Context()); !errors.Is(err, ErrNoLogind) {
		t.Errorf("how long there is a delay: %v", err)
	}
	if _, err := k.Delay(t.Context(), "nightporter", "it hands over"); !errors.Is(err, ErrNoLogind) {
		t.Errorf("a lock: %v", err)
	}
	other, err := dbus.Connect(l.Address)
	must(t, err)
	defer other.Close()
	say := func(begins bool) { must(t, other.Emit(login1Path, login1Manager+".PrepareForSleep", begins)) }
	say(true) // nobody is logind
	_, err = other.RequestName(login1, dbus.NameFlagDoNotQueue)
	must(t, err)
	next(t, k, Changed)
	say(true)
	next(t, k, Sleeping)
	stop()
	close(stopped)
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case e, open := <-k.Events():
		if open {
			t.Errorf("after the end of the bus: %v", e)
		}
	case <-limit.C:
		t.Error("the end of the bus was not noticed")
	}
	if _, err := (&Logind{Address: "unix:path=" + filepath.Join(t.TempDir(), "absent")}).Link(t.Context()); !errors.Is(err, ErrNoLogind) {
		t.Errorf("without a bus: %v", err)
	}
}

// A bus that ends in the moment in which somebody connects is an error, and soon.
func TestABusThatEndsWhileConnecting(t *testing.T) {
	m := newMachine(t)
	conn, err := m.Logind.connect(t.Context(), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	must(t, err)
	_ = conn.Close() // as its reader does when the bus hangs up
	told := make(chan error, 1)
	go func() {
		_, err := listenOn(t.Context(), conn)
		told <- err
	}()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case err := <-told:
		if err == nil {
			t.Error("it listens on a connection that has ended")
		}
	case <-limit.C:
		t.Fatal("it waits for ever")
	}
}

//go:build vm

package vm

import (
	"fmt"
	"time"
)

// stay keeps the host awake by a lock of the guest's own logind. It may just have fallen asleep: a client wakes it then.
func (w *world) stay() {
	w.Helper()
	w.must(func() error { _, err := w.lab.Client(1).Connect(w.limit(), door); return err }())
	w.awaitOwner("serving", place)
	w.inhibit()
}

// inhibit does so until `systemctl stop stay`.
func (w *world) inhibit() {
	w.Helper()
	_, err := w.shell.run(w.limit(), "systemd-run --quiet --unit=stay -p Restart=on-failure systemd-inhibit --what=idle --who=test --why=test sleep infinity")
	w.must(err)
}

// unannounced is a suspend that nobody hears of before: neither logind nor the agent.
const unannounced = "echo mem >/sys/power/state"

// tell has the guest's shell suspend the machine. The shell may answer before or after.
func (w *world) tell(command string) <-chan error {
	ended := make(chan error, 1)
	ctx := w.limit()
	go func() {
		_, err := w.shell.run(ctx, command)
		ended <- err
	}()
	return ended
}

// missed: the machine is suspended while it holds the identity. Another host takes it over; a magic packet resumes the machine, whose kernel has the
// address still and is asked for it two hundred times a second; nothing of the identity leaves it before the log has given it back.
func (w *world) missed() {
	w.Helper()
	w.awaitOwner("serving", place)
	asleep, awake := w.count()
	told := time.Now()
	ended := w.tell(unannounced)
	at := w.awaitSuspend(asleep + 1)
	w.seen(at)
	if w.claims(told.Add(-time.Second), at) == 0 {
		w.Errorf("the machine did not use the identity before it was suspended: the rest proves nothing")
	}
	front := w.awaitOwner("holding", "h1", "h2")
	taken := w.lastChange()
	w.must(w.place.Wake(w.limit()))
	woken := w.awaitWakeup(awake + 1)
	w.must(<-ended)
	w.awaitOwner("serving", place)
	back := w.lastChange()
	w.seen(time.Now())
	if back.To != place || !back.At.After(woken) {
		w.Errorf("the log gave web to %s at %v; the machine resumed at %v", back.To, back.At, woken)
	}
	if n := w.claims(at, back.At); n != 0 {
		w.Errorf("the machine used the identity in %d runs of frames between its suspend at %v and its new record at %v", n, at, back.At)
	}
	w.await("the machine uses the identity after its new record", func() string {
		if w.claims(back.At, time.Now()) == 0 {
			return "it does not"
		}
		return ""
	})
	w.Logf("a suspend that was not announced: %s (%s) after %v; resumed after %v; 0 frames until the record, %v after the resume", front, taken.Reason,
		taken.At.Sub(at).Round(time.Millisecond), woken.Sub(at).Round(time.Millisecond), back.At.Sub(woken).Round(time.Millisecond))
}

// moment is the same for less than the lease lasts: the deadline has not passed, and the count of suspends alone keeps the fence closed until the lease was
// asked for and given anew.
func (w *world) moment() {
	w.Helper()
	if n, away, round := w.blink(); n != 0 {
		w.Errorf("the machine used the identity in %d runs of frames between its suspend and the first answer to it", n)
	} else {
		w.Logf("a suspend of %v: 0 frames until the first answer, %v after the resume", away, round)
	}
}

// control is the same with the fence that has its deadline only: the tests see what it lets through, so they would see it of the other one.
func (w *world) control() {
	w.Helper()
	_, err := w.shell.run(w.limit(), "sed -i '1i fence: nftables' /etc/nightporter/nightporter.yaml; systemctl restart nightporter")
	w.must(err)
	w.await("the guest holds the identity with the other fence", func() string {
		if st := w.guestStatus(); len(st.Services) != 1 || st.Services[0].Fence.Kind != "nftables" || st.Services[0].Fence.State != "open" {
			return fmt.Sprintf("%+v", st.Services)
		}
		return ""
	})
	n, away, round := w.blink()
	if n == 0 {
		w.Errorf("the control used the identity in no frame after a suspend of %v: the tests cannot see it", away)
	}
	w.Logf("the control, a suspend of %v: %d runs of frames until the first answer, %v after the resume", away, n, round)
}

// questions are asked while the machine sleeps for a moment, half a second. They wait in its card, and its kernel hears them before any program runs.
const questions = 100

// blink suspends the machine without a word and resumes it after a moment, long before its lease would end. It counts the runs of frames by which the machine used the identity from the
// suspend until the first answer to something that a program of it said.
func (w *world) blink() (claims int, away, round time.Duration) {
	w.Helper()
	w.awaitOwner("serving", place)
	asleep, awake := w.count()
	ended := w.tell(unannounced)
	at := w.awaitSuspend(asleep + 1)
	before := w.asker.asked.Load()
	w.await("the sleeping machine is asked for the address", func() string {
		if n := w.asker.asked.Load() - before; n < questions {
			return fmt.Sprintf("%d times", n)
		}
		return ""
	})
	w.must(w.monitor.command(w.limit(), "system_wakeup"))
	woken := w.awaitWakeup(awake + 1)
	w.must(<-ended)
	w.awaitOwner("serving", place)
	w.await("the machine uses the identity again", func() string {
		if w.claims(woken, time.Now()) == 0 {
			return "it does not"
		}
		return ""
	})
	var answered time.Time
	w.await("the machine is answered", func() (missing string) {
		var ok bool
		if answered, ok = w.talk.round(woken); !ok {
			missing = "nothing came"
		}
		return missing
	})
	w.seen(answered)
	return w.claims(at, answered), woken.Sub(at).Round(time.Millisecond), answered.Sub(woken).Round(time.Millisecond)
}

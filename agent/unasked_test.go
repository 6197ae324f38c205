package agent

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nightporter/api"
	"nightporter/fsm"
)

// lookOn runs the records of unasked wakes on a stage, on which the test writes down what becomes of host b.
func lookOn(t *testing.T, f func(s *stage, u *unasked, change func(from, to fsm.Power, why fsm.Reason))) {
	onStage(t, func(t *testing.T, s *stage) {
		s.raft.must(fsm.PutNode{Node: fsm.Node{Name: "b", Key: "k", Policy: fsm.Sleeps, Format: fsm.Format}})
		u := &unasked{
			self: "b", clock: s.clock, machine: s.machine, proposer: s.proposer, power: s, log: slog.New(slog.DiscardHandler),
			lastUse: func(time.Duration) (string, bool) {
				return "a shell of \x1b[31mroot" + strings.Repeat("!", fsm.NoteLimit), true
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); u.run(ctx) }()
		f(s, u, func(from, to fsm.Power, why fsm.Reason) {
			s.raft.must(fsm.SetPower{Node: "b", From: from, To: to, Sleeps: s.record().Sleeps, Reason: why, At: time.Now()})
			time.Sleep(time.Minute) // of virtual time: all that follows has happened
			synctest.Wait()
		})
		cancel()
		<-ended
	})
}

// TestAnUnaskedWakeIsNotedOnce: what it did is written when the host sleeps again, also after a sleep that was called off, and never when
// somebody else's wake has ended. Words that had to be shortened and cleaned are written once.
func TestAnUnaskedWakeIsNotedOnce(t *testing.T) {
	lookOn(t, func(s *stage, _ *unasked, change func(from, to fsm.Power, why fsm.Reason)) {
		sleep := func() {
			change(fsm.Awake, fsm.Suspending, fsm.OperatorSleep)
			change(fsm.Suspending, fsm.Asleep, fsm.OperatorSleep)
		}
		sleep()
		change(fsm.Asleep, fsm.Awake, fsm.WokeUnasked)
		wakes := s.machine.View().State.Wakes
		if len(wakes) != 1 || wakes[0].Cause != fsm.WokeUnasked || wakes[0].Ended.IsZero() || wakes[0].Note != "" {
			t.Fatalf("after the wake: %+v", wakes)
		}
		change(fsm.Awake, fsm.Suspending, fsm.OperatorSleep)
		change(fsm.Suspending, fsm.Awake, fsm.SleepCancelled)
		before := s.machine.View().Index
		sleep()
		if n := s.machine.View().Index - before; n != 3 { // the two steps of the sleep, and the note
			t.Errorf("a sleep took %d entries, want 3", n)
		}
		first := s.machine.View().State.Wakes[0].Note
		if !strings.HasPrefix(first, "up for 3m0s, last use: a shell of  [31mroot!") || len(first) > fsm.NoteLimit {
			t.Errorf("the note is %q", first)
		}
		change(fsm.Asleep, fsm.Waking, fsm.Demand)
		change(fsm.Waking, fsm.Awake, fsm.WokeUp)
		sleep()
		if wakes := s.machine.View().State.Wakes; len(wakes) != 1 || wakes[0].Note != first {
			t.Errorf("after a wake that somebody asked for: %+v", wakes)
		}
	})
}

// TestAWakeByItsOwnClockIsRecorded: under its own cause, at once, though a call of this sleep had been given up; and the report counts it.
func TestAWakeByItsOwnClockIsRecorded(t *testing.T) {
	for _, why := range []fsm.Reason{fsm.WokeOnTime, fsm.WokeAlarm} {
		lookOn(t, func(s *stage, _ *unasked, change func(from, to fsm.Power, why fsm.Reason)) {
			change(fsm.Awake, fsm.Suspending, fsm.OperatorSleep)
			change(fsm.Suspending, fsm.Asleep, fsm.OperatorSleep)
			s.raft.must(fsm.BeginWake{Wake: fsm.Wake{ID: "in vain", Node: "b", Cause: fsm.Demand, Started: time.Now()}})
			s.raft.must(fsm.EndWake{ID: "in vain", Result: fsm.GaveUp, At: time.Now()})
			change(fsm.Asleep, fsm.Awake, why)
			state := s.machine.View().State
			if w := state.Wakes; len(w) != 2 || w[0].Note != "" || w[1].Cause != why || w[1].Result != fsm.WokeUp || w[1].By != "b" || w[1].Started != s.record().PowerSince {
				t.Fatalf("%s: after the wake: %+v", why, w)
			}
			count := func(r api.Report) int {
				return slices.IndexFunc(r.Nodes, func(n api.NodeReport) bool {
					return n.Node == "b" && slices.Contains(n.Wakes, api.WakeCount{Cause: string(why), Count: 1})
				})
			}
			if r := reportOf(state, nil, 0, time.Now()); count(r) < 0 {
				t.Errorf("%s: the report is %+v", why, r.Nodes)
			}
			change(fsm.Awake, fsm.Suspending, fsm.NodeIdle)
			if w := s.machine.View().State.Wakes; len(w) != 2 || !strings.HasPrefix(w[1].Note, "up for 1m0s, last use: ") {
				t.Errorf("%s: after the next sleep: %+v", why, w)
			}
		})
	}
}

// TestACallThatIsRecordedLateIsNoUnaskedWake: the word of who called may come after the host's own.
func TestACallThatIsRecordedLateIsNoUnaskedWake(t *testing.T) {
	lookOn(t, func(s *stage, _ *unasked, change func(from, to fsm.Power, why fsm.Reason)) {
		change(fsm.Awake, fsm.Suspending, fsm.OperatorSleep)
		change(fsm.Suspending, fsm.Asleep, fsm.OperatorSleep)
		late := time.AfterFunc(unaskedWait/2, func() { s.raft.must(fsm.BeginWake{Wake: fsm.Wake{ID: "late", Node: "b", Cause: fsm.QuorumLost}}) })
		defer late.Stop()
		change(fsm.Asleep, fsm.Awake, fsm.WokeUnasked)
		if wakes := s.machine.View().State.Wakes; len(wakes) != 1 || wakes[0].ID != "late" {
			t.Errorf("%+v", wakes)
		}
	})
}

// TestAHostThatComesUpAfterItsCallsWereGivenUp: it was called, and in the pause after that it still is, without a record: the record of the
// last call says that it came up, and what that was good for. One that is called again, with a record, came up by that.
func TestAHostThatComesUpAfterItsCallsWereGivenUp(t *testing.T) {
	for _, again := range []bool{false, true} {
		lookOn(t, func(s *stage, _ *unasked, change func(from, to fsm.Power, why fsm.Reason)) {
			call := func(id string) { s.raft.must(fsm.BeginWake{Wake: fsm.Wake{ID: id, Node: "b", Cause: fsm.Demand}}) }
			change(fsm.Awake, fsm.Suspending, fsm.OperatorSleep)
			change(fsm.Suspending, fsm.Asleep, fsm.OperatorSleep)
			for _, id := range []string{"first", "second"} {
				call(id)
				time.Sleep(time.Minute)
				s.raft.must(fsm.EndWake{ID: id, Result: fsm.GaveUp, At: time.Now()})
			}
			time.Sleep(10 * time.Minute)
			if again {
				call("third")
			}
			change(fsm.Asleep, fsm.Awake, fsm.WokeUnasked)
			notes := func() (out []string) {
				for _, k := range s.machine.View().State.Wakes {
					out = append(out, k.ID+" "+k.Note)
				}
				return out
			}
			want := []string{"first ", "second came up 10m0s later"}
			if again {
				want = []string{"first ", "second ", "third "}
			}
			if got := notes(); !slices.Equal(got, want) {
				t.Errorf("called again %v: after the wake %q, want %q", again, got, want)
			}
			change(fsm.Awake, fsm.Suspending, fsm.OperatorSleep)
			if got := notes(); len(got) != len(want) || strings.HasPrefix(got[1], "second came up 10m0s later; up for 1m0s, last use: ") == again {
				t.Errorf("called again %v: after the next sleep %q", again, got)
			}
		})
	}
}

// TestUnaskedWakesOfAHostThatIsAlwaysOn: others suspend it, which no number is given to; each of its wakes is recorded all the same.
func TestUnaskedWakesOfAHostThatIsAlwaysOn(t *testing.T) {
	lookOn(t, func(s *stage, _ *unasked, change func(from, to fsm.Power, why fsm.Reason)) {
		for n := range 3 {
			change(fsm.Awake, fsm.Asleep, fsm.SuspendedByOthers)
			change(fsm.Asleep, fsm.Awake, fsm.WokeUnasked)
			wakes := s.machine.View().State.Wakes
			if len(wakes) != n+1 || wakes[n].Cause != fsm.WokeUnasked || s.record().Sleeps != 0 {
				t.Fatalf("after wake %d: %+v", n+1, wakes)
			}
		}
		if note := s.machine.View().State.Wakes[1].Note; !strings.Contains(note, "last use") {
			t.Errorf("the note of the second is %q", note)
		}
	})
}

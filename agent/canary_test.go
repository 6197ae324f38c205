package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
)

// A canary whose host cannot even begin to suspend, since a program of its own cannot say when it wants the host, has shown nothing: it is called
// off. One whose suspend fails has failed.
func TestACanaryThatDoesNotBegin(t *testing.T) {
	for want, arrange := range map[fsm.Reason]func(*stage){
		fsm.CanaryCalledOff: func(s *stage) {
			s.alarm.times = func(context.Context, time.Time) (wakeTime, error) { return wakeTime{}, errors.New("no answer in time") }
		},
		fsm.CanaryFailed: func(s *stage) {
			s.hang = func(context.Context) error { return errors.New("device r8169 refuses to suspend") }
		},
	} {
		t.Run(string(want), func(t *testing.T) {
			onReporter(t, func(t *testing.T, s *stage, r *reporter) {
				r.look(t.Context())
				arrange(s)
				c := &canaries{
					self: "b", clock: s.sleeper.clock, machine: s.sleeper.machine, raft: s.raft, proposer: s.proposer, waking: &waking{entries: make(chan fsm.Command, 8)}, log: s.log,
					members: func() []cluster.Member { return nil }, answers: func(context.Context, string) bool { return true },
				}
				s.raft.must(fsm.BeginCanary{Node: "b", ID: "k", At: time.Now()})
				for range 12 {
					c.look(t.Context())
					s.steps(1)
				}
				if f := s.machine.View().State.Fitness["b"].Canary; f.Running() || f.Result != want {
					t.Errorf("%+v, %+v", f, s.record())
				}
			})
		})
	}
}

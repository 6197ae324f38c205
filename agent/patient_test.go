package agent

import (
	"context"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/config"
)

// TestCommandsWaitForAnElection: for as long as one takes, and no longer.
func TestCommandsWaitForAnElection(t *testing.T) {
	tests := []struct {
		name     string
		leader   time.Duration // when there is one again
		want     api.Code      // "" = carried out
		earliest time.Duration
		latest   time.Duration
	}{
		{"a leader", 0, "", 0, 0},
		{"one that is just elected", 700 * time.Millisecond, "", 700 * time.Millisecond, 800 * time.Millisecond},
		{"none", time.Hour, api.CodeNoLeader, 1500 * time.Millisecond, 1600 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				lead := &electedRaft{s.raft, time.Now().Add(tt.leader)}
				s.proposer.raft = lead
				p := patient{&backend{&parts{cfg: &config.Config{Node: "b"}, machine: s.machine, raft: lead, scene: s.scene, proposer: s.proposer}}}
				began := time.Now()
				err := p.Set(context.Background(), api.Settings{Failover: api.Duration(2 * time.Second)})
				took := time.Since(began)
				if (err == nil) != (tt.want == "") || (err != nil && api.CodeOf(err) != tt.want) {
					t.Errorf("got %v", err)
				}
				if took < tt.earliest || took > tt.latest {
					t.Errorf("it took %v", took)
				}
				if now := s.machine.View().State.Timing.Failover; (now == 2*time.Second) != (err == nil) {
					t.Errorf("failover is %v after %v", now, err)
				}
			})
		})
	}
}

// electedRaft leads from a moment on.
type electedRaft struct {
	*soloRaft
	at time.Time
}

func (r *electedRaft) IsLeader() bool { return !time.Now().Before(r.at) }
func (r *electedRaft) Leader() string {
	if r.IsLeader() {
		return "b"
	}
	return ""
}

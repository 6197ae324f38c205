package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"nightporter/fsm"
	"nightporter/idle"
)

// A host whose suspend fails tries again after pauses that double, says so, and begins anew after a sleep that was one.
func TestASuspendThatKeepsFailingIsTriedLessOften(t *testing.T) {
	onNapper(t, func(t *testing.T, n *napper) {
		broken := true
		n.hang = func(context.Context) error {
			if broken {
				return errors.New("device r8169 refuses to suspend")
			}
			n.resumed.Add(1)
			return nil
		}
		var began time.Time
		sleep := func() time.Duration { // until the next wish
			t.Helper()
			for end := time.Now().Add(48 * time.Hour); n.stage.record().Power == fsm.Awake; {
				if time.Now().After(end) {
					t.Fatal("it never tries again")
				}
				n.looksFor(10 * time.Second)
			}
			took := time.Since(began)
			n.steps(3)
			n.look(t.Context())
			n.idler.returned()
			began = time.Now()
			return took
		}
		began = time.Now()
		sleep()
		for _, want := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
			if took := sleep(); took < want-time.Minute || took > want+time.Minute {
				t.Errorf("it tried again after %v, want %v", took, want)
			}
		}
		n.looksFor(16 * time.Minute)
		o, _ := n.idler.outlook()
		if r := o.verdict.Reasons; n.state() != idle.Held || len(r) != 1 || r[0].Name != idle.Retry ||
			!strings.Contains(r[0].Sentence, "it tries again at 20") || !strings.Contains(r[0].Sentence, "failed 10 times in a row: device r8169 refuses") {
			t.Errorf("it is %s because of %+v", n.state(), r)
		}
		broken = false
		n.order() // an operator does not wait
		n.steps(3)
		if me := n.stage.record(); me.Power != fsm.Awake || me.PowerReason != fsm.WokeUnasked {
			t.Fatalf("%+v", me)
		}
		broken = true
		n.idler.returned()
		began = time.Now()
		if took := sleep(); took > 16*time.Minute {
			t.Errorf("after a good sleep it tried again after %v", took)
		}
		if took := sleep(); took > 16*time.Minute {
			t.Errorf("after the first failure it tried again after %v", took)
		}
	})
}

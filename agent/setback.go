package agent

import (
	"fmt"
	"time"

	"nightporter/fsm"
)

// setbacks counts the sleeps of this host that came to nothing, since each costs its services two moves. They are told by its record, so an
// operator's count as well; the count itself is this process's.
type setbacks struct {
	sleeps uint64 // the sleep that was counted last
	n      int    // in a row
	until  time.Duration
	why    string
}

// setbackMost bounds the pause after one.
const setbackMost = 24 * time.Hour

// see takes in the record of this host, which is awake, and what is said of its last sleep. After the first failure the host goes to sleep
// when nobody has needed it for as long as ever, after the second when twice that is over, and so on, up to a day.
func (b *setbacks) see(me fsm.Node, now, idle time.Duration, why string) {
	switch me.PowerReason {
	case fsm.SuspendFailed, fsm.SuspendTimeout:
		if b.n > 0 && b.sleeps == me.Sleeps {
			return
		}
		b.n, b.sleeps, b.why = b.n+1, me.Sleeps, why
		if why == "" {
			b.why = causes[me.PowerReason]
		}
		pause := setbackMost
		if doublings := b.n - 1; doublings < 24 && idle < setbackMost>>doublings {
			pause = idle << doublings
		}
		b.until = now + pause
	case fsm.WokeUp, fsm.WokeUnasked, fsm.WokeAlarm, fsm.WokeOnTime:
		*b = setbacks{} // it can
	}
}

// sentence says until when the host waits, at the time of the clock on its wall; "" = it does not.
func (b *setbacks) sentence(now time.Duration, wall time.Time) string {
	if b.n == 0 || now >= b.until {
		return ""
	}
	times := "once"
	if b.n > 1 {
		times = fmt.Sprintf("%d times in a row", b.n)
	}
	return fmt.Sprintf("it tries again at %s, because its suspend failed %s: %s", wall.Add(b.until-now).Format(time.DateTime), times, b.why)
}

package wake

import (
	"testing"
	"time"
)

func TestEdge(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	type tick struct {
		boot, mono time.Duration
		resumed    bool
		gap        time.Duration
	}
	tests := []struct {
		name  string
		stall time.Duration
		ticks []tick
	}{
		{"first tick only takes the measure", 0, []tick{{900 * s, 100 * s, false, 0}}},
		{"an awake host", 0, []tick{{10 * s, 10 * s, false, 0}, {10500 * ms, 10500 * ms, false, 0}, {12500 * ms, 12500 * ms, false, 0}}},
		{"noise of two readings", 0, []tick{{10 * s, 9 * s, false, 0}, {11 * s, 9960 * ms, false, 0}, {12 * s, 11040 * ms, false, 0}}},
		{"suspend that stops the monotonic clock", 0, []tick{{10 * s, 10 * s, false, 0}, {3610 * s, 10100 * ms, true, 3600 * s}, {3611 * s, 11100 * ms, false, 0}}},
		{"short suspend", 0, []tick{{10 * s, 10 * s, false, 0}, {10300 * ms, 10240 * ms, true, 300 * ms}}},
		{"exactly the step is no suspend", 0, []tick{{10 * s, 10 * s, false, 0}, {10300 * ms, 10250 * ms, false, 0}}},
		{"very short suspends add up", 0, []tick{{10 * s, 10 * s, false, 0}, {11 * s, 10970 * ms, false, 0}, {12 * s, 11940 * ms, true, s}, {13 * s, 12940 * ms, false, 0}}},
		{"RTC set the boot clock too far back", 0, []tick{{10 * s, 9 * s, false, 0}, {10500 * ms, 9800 * ms, true, 500 * ms}}},
		{"freeze that stops no clock", 0, []tick{{10 * s, 10 * s, false, 0}, {12001 * ms, 12001 * ms, true, 2001 * ms}, {13 * s, 13 * s, false, 0}}},
		{"own stall", 10 * s, []tick{{10 * s, 10 * s, false, 0}, {20 * s, 20 * s, false, 0}, {30001 * ms, 30001 * ms, true, 10001 * ms}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := Edge{Stall: tt.stall}
			for i, k := range tt.ticks {
				resumed, gap := e.Tick(k.boot, k.mono)
				if resumed != k.resumed || gap != k.gap {
					t.Fatalf("tick %d: got %v, %v, want %v, %v", i, resumed, gap, k.resumed, k.gap)
				}
			}
		})
	}
}

// A process that is preempted between two readings must not see a suspend.
func TestClocksAgree(t *testing.T) {
	var e Edge
	e.Stall = time.Hour // a busy machine may well stop this process for some seconds
	for range 20000 {
		if resumed, gap := e.Tick(Clocks()); resumed {
			t.Fatalf("an awake host was found to have slept (gap %v)", gap)
		}
	}
	boot, mono := Clocks()
	if mono <= 0 || boot < mono-time.Millisecond {
		t.Fatalf("CLOCK_BOOTTIME %v is behind CLOCK_MONOTONIC %v", boot, mono)
	}
}

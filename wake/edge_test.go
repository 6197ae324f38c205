package wake

import (
	"testing"
	"time"
)

func TestEdge(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	type tick struct {
		boot, mono time.Duration
		away       Absence
		gap        time.Duration
	}
	tests := []struct {
		name  string
		stall time.Duration
		ticks []tick
	}{
		{"first tick only takes the measure", 0, []tick{{900 * s, 100 * s, Present, 0}}},
		{"an awake host", 0, []tick{{10 * s, 10 * s, Present, 0}, {10500 * ms, 10500 * ms, Present, 0}, {12500 * ms, 12500 * ms, Present, 0}}},
		{"noise of two readings", 0, []tick{{10 * s, 9 * s, Present, 0}, {11 * s, 9960 * ms, Present, 0}, {12 * s, 11040 * ms, Present, 0}}},
		{"suspend that stops the monotonic clock", 0, []tick{{10 * s, 10 * s, Present, 0}, {3610 * s, 10100 * ms, Slept, 3600 * s}, {3611 * s, 11100 * ms, Present, 0}}},
		{"short suspend", 0, []tick{{10 * s, 10 * s, Present, 0}, {10300 * ms, 10240 * ms, Slept, 300 * ms}}},
		{"exactly the step is no suspend", 0, []tick{{10 * s, 10 * s, Present, 0}, {10300 * ms, 10250 * ms, Present, 0}}},
		{"very short suspends add up", 0, []tick{{10 * s, 10 * s, Present, 0}, {11 * s, 10970 * ms, Present, 0}, {12 * s, 11940 * ms, Slept, s}, {13 * s, 12940 * ms, Present, 0}}},
		{"RTC set the boot clock too far back", 0, []tick{{10 * s, 9 * s, Present, 0}, {10500 * ms, 9800 * ms, Slept, 500 * ms}}},
		{"freeze that stops no clock", 0, []tick{{10 * s, 10 * s, Present, 0}, {12001 * ms, 12001 * ms, Stalled, 2001 * ms}, {13 * s, 13 * s, Present, 0}}},
		{"own stall", 10 * s, []tick{{10 * s, 10 * s, Present, 0}, {20 * s, 20 * s, Present, 0}, {30001 * ms, 30001 * ms, Stalled, 10001 * ms}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := Edge{Stall: tt.stall}
			for i, k := range tt.ticks {
				away, gap := e.Tick(k.boot, k.mono)
				if away != k.away || gap != k.gap {
					t.Fatalf("tick %d: got %v, %v, want %v, %v", i, away, gap, k.away, k.gap)
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
		if away, gap := e.Tick(Clocks()); away != Present {
			t.Fatalf("an awake host was found to have %v (gap %v)", away, gap)
		}
	}
	boot, mono := Clocks()
	if mono <= 0 || boot < mono-time.Millisecond {
		t.Fatalf("CLOCK_BOOTTIME %v is behind CLOCK_MONOTONIC %v", boot, mono)
	}
}

// What is measured by these two clocks is off by no more than the time between the readings.
func TestUnbentIsSharp(t *testing.T) {
	before, mono, after := Unbent()
	sharp := 0
	for range 2000 {
		b, m, a := Unbent()
		if b < before || m < mono || a < b {
			t.Fatalf("%v, %v, %v after %v, %v, %v", b, m, a, before, mono, after)
		}
		if most, least := m-b-(mono-after), m-a-(mono-before); most < 0 || least > 0 {
			// Quartz is put right by less than 0.05 %, and this machine's clock may be bent by 10 %.
			if passed := a - before; max(-most, least) > passed/4 {
				t.Fatalf("in %v the clock was bent by %v to %v", passed, least, most)
			}
		}
		if a-b <= unbentSpread {
			sharp++
		}
		before, mono, after = b, m, a
	}
	if sharp == 0 {
		t.Error("no look was sharp")
	}
}

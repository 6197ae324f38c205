package agent

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestStampsAgreeWithTheOrderOfTheLog(t *testing.T) {
	base := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC) // a night in which clocks are set
	for name, c := range map[string]struct{ minutes, want []int }{
		"in order":                    {[]int{1, 5, 5, 9}, []int{1, 5, 5, 9}},
		"one clock is behind":         {[]int{10, 20, 5, 30, 40}, []int{10, 20, 20, 30, 40}},
		"one booted without a clock":  {[]int{10, 20, -30000000, 30}, []int{10, 20, 20, 30}},
		"it is the first":             {[]int{90, 10, 20, 30}, []int{10, 10, 20, 30}},
		"one clock is ahead":          {[]int{10, 20, 95, 30, 40}, []int{10, 20, 30, 30, 40}},
		"and has the last word":       {[]int{10, 20, 200}, []int{10, 20, 100}},
		"nobody's clock can be right": {[]int{200, 300}, []int{100, 100}},
		"set back by an hour":         {[]int{70, 75, 80, 30, 35}, []int{70, 75, 80, 80, 80}},
		"nothing":                     {nil, nil},
	} {
		var stamps []logStamp
		for i, m := range c.minutes {
			stamps = append(stamps, logStamp{uint64(10 + i), base.Add(time.Duration(m) * time.Minute)})
		}
		times := agree(append(stamps, stamps...), base.Add(100*time.Minute))
		var got []int
		for i := range c.minutes {
			got = append(got, int(times[uint64(10+i)].Sub(base).Minutes()))
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) || len(times) != len(c.minutes) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Whatever the clocks say, times do not fall and are not in the future, and where no clock is wrong each stamp counts.
func TestStampsOfAnyClocks(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		now, at, wrong := time.Unix(1e9, 0), time.Unix(1e9-1e6, 0), 0
		var stamps []logStamp
		for i := range uint64(1 + r.IntN(200)) {
			at = at.Add(time.Duration(r.IntN(1000)) * time.Second)
			s := logStamp{i + 1, at}
			if r.IntN(10) == 0 {
				wrong++
				s.at = at.Add(time.Duration(r.IntN(4e6)-2e6) * time.Second)
			}
			stamps = append(stamps, s)
		}
		times, changed := agree(stamps, now), 0
		last := time.Time{}
		for _, s := range stamps {
			got := times[s.index]
			if got.Before(last) || got.After(now) {
				t.Fatalf("seed %d: entry %d is at %v, after %v", seed, s.index, got, last)
			}
			if !got.Equal(s.at) {
				changed++
			}
			last = got
		}
		if changed > wrong {
			t.Errorf("seed %d: %d of the stamps are not believed, and %d are wrong", seed, changed, wrong)
		}
	}
}

package lease

import "time"

// Sight is one look at CLOCK_MONOTONIC, between two at CLOCK_MONOTONIC_RAW. Whoever sets a clock right by bending it (adjtimex:
// chronyd, ntpd, systemd-timesyncd) bends the first, and CLOCK_BOOTTIME with it, and never the second. Both stand still in a suspend.
type Sight struct{ Before, Mono, After time.Duration }

// ahead gives bounds of how far CLOCK_MONOTONIC was ahead of CLOCK_MONOTONIC_RAW. Only its changes say anything.
func (s Sight) ahead() (least, most time.Duration) { return s.Mono - s.After, s.Mono - s.Before }

// Bent is by how much CLOCK_BOOTTIME was bent against CLOCK_MONOTONIC_RAW, from a Ruler's first look to its last one.
type Bent struct {
	Ahead  time.Duration // what it gained whenever it ran faster, added up: it only rises
	Behind time.Duration // what it lost whenever it ran slower, added up
	Slow   int64         // by how many millionths it was slower of late; 0 = not by so much that it counts
}

// Until gives the point of CLOCK_BOOTTIME at which the true time from now to end has passed, if the clock goes on as slowly as of
// late: never later than end.
func (b Bent) Until(now, end Boot) Boot {
	left := end.Sub(now)
	if left <= 0 {
		return end
	}
	return end.Add(-part(left, b.Slow))
}

// part is that many millionths of d, rounded up, without overflow at any d.
func part(d time.Duration, millionths int64) time.Duration {
	return d/million*time.Duration(millionths) + (d%million*time.Duration(millionths)+million-1)/million
}

const (
	million = 1_000_000
	// grain is what is not counted yet: the sums are off by less than two of it. It keeps what the looks themselves are off by from adding up.
	grain = 50 * time.Microsecond
	// rateOver is the least time over which a rate is measured.
	rateOver = 10 * time.Millisecond
	// slowFrom is the rate that counts: quartz is put right by less, for good. The margin has it.
	slowFrom = 1000
)

// Ruler measures how a clock is bent. It is pure, as the rest: looks are handed in. It is not safe for concurrent use.
type Ruler struct {
	looked  bool
	counted Sight // up to which the sums count
	rated   Sight // where the measure of the rate begins
	bent    Bent
}

// Look takes one more look. Of two looks the clock did not gain more in between than Ahead rose, nor lose more than Behind rose, but
// for two grains.
func (r *Ruler) Look(s Sight) Bent {
	if !r.looked {
		r.looked, r.counted, r.rated = true, s, s
		return r.bent
	}
	gained, lost := between(r.counted, s)
	switch {
	case max(gained, lost) < grain:
	case gained > lost:
		r.bent.Ahead += gained
		r.counted = s
	default:
		r.bent.Behind += lost
		r.counted = s
	}
	if passed := s.Before - r.rated.After; passed >= rateOver {
		_, lost := between(r.rated, s)
		r.bent.Slow = 0
		if slow := min(int64(float64(lost)/float64(passed)*million)+1, million-1); slow >= slowFrom {
			r.bent.Slow = slow
		}
		r.rated = s
	}
	return r.bent
}

// between gives the most that the clock can have gained, and lost, from one look to another. One of them is negative where both were sharp.
func between(a, b Sight) (gained, lost time.Duration) {
	least, most := a.ahead()
	nowLeast, nowMost := b.ahead()
	return nowMost - least, most - nowLeast
}

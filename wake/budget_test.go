package wake

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestSource(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.9": "192.0.2.9/32", "::ffff:192.0.2.9": "192.0.2.9/32", "2001:db8::1:2:3:4": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Source(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("%s is counted as %s, want %s", in, got, want)
		}
	}
	if got := Source(netip.Addr{}); got.IsValid() {
		t.Errorf("no address is counted as %s", got)
	}
}

func TestDenyWins(t *testing.T) {
	nets := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, c := range []struct {
		s    Admission
		from string
		want bool
	}{
		{Admission{}, "192.0.2.9", true},
		{Admission{Deny: nets("192.0.2.9/32")}, "192.0.2.9", false},
		{Admission{Deny: nets("192.0.2.9/32")}, "192.0.2.10", true},
		{Admission{Allow: nets("192.0.2.0/24")}, "192.0.2.9", true},
		{Admission{Allow: nets("192.0.2.0/24")}, "198.51.100.9", false},
		{Admission{Allow: nets("192.0.2.0/24")}, "2001:db8::1", false},
		{Admission{Allow: nets("192.0.2.9/32"), Deny: nets("192.0.2.0/24")}, "192.0.2.9", false}, // the longer prefix does not matter
		{Admission{Allow: nets("192.0.2.0/24"), Deny: nets("192.0.2.9/32")}, "192.0.2.9", false},
		{Admission{Allow: nets("192.0.2.0/24", "fe80::/64")}, "fe80::1%eth0", true},
		{Admission{Deny: nets("192.0.2.0/24")}, "::ffff:192.0.2.9", false},
	} {
		if got := c.s.Wakes(netip.MustParseAddr(c.from)); got != c.want {
			t.Errorf("%+v of %s: %v", c.s, c.from, got)
		}
	}
}

var scanner, other = netip.MustParsePrefix("192.0.2.9/32"), netip.MustParsePrefix("192.0.2.7/32")

// TestABudget: what is under way counts, what was good for something does not, and time fills it up.
func TestABudget(t *testing.T) {
	var b Budget
	a := Allowance{Source: 2, All: Unlimited}
	now := 100 * time.Hour
	step := func(what string, source netip.Prefix, want bool) {
		t.Helper()
		if got := b.May(now, "web", source, a); got != want {
			t.Errorf("%s: may wake is %v", what, got)
		}
	}
	spend := func(id string, o Outcome) {
		b.Charge(now, id, "web", scanner, a)
		b.Charge(now, id, "web", scanner, a) // the log has it, too
		b.Settle(id, o, a)
		b.Settle(id, o, a)
	}
	step("a stranger", scanner, true)
	spend("1", Wasted)
	step("after one", scanner, true)
	for i := range 10 {
		spend(fmt.Sprint("good", i), []Outcome{Paid, Unclear}[i%2])
	}
	step("useful wakes do not count", scanner, true)
	b.Charge(now, "2", "web", scanner, a)
	step("its own wake is under way: this is a repetition", scanner, true)
	b.Settle("2", Wasted, a)
	step("after two", scanner, false)
	step("others have their own", other, true)
	if !b.May(now, "db", scanner, a) {
		t.Error("another service has its own")
	}
	now += 29 * time.Minute
	step("before half an hour", scanner, false)
	now += 2 * time.Minute
	step("one more each half an hour", scanner, true)
	spend("3", Wasted)
	step("and no more", scanner, false)
	now += 3 * time.Hour
	spend("4", Wasted)
	step("it fills up to its size", scanner, true)
	spend("5", Wasted)
	step("and not above it", scanner, false)
	b.Charge(now, "6", "web", other, a)
	now += openFor
	step("nobody says what became of it", other, true)
	if a.Source = Unlimited; !b.May(now, "web", scanner, a) {
		t.Error("without a limit nobody is held up")
	}
}

// TestWakesThatNobodyJudges: a target that sleeps again at once is woken again for the client that goes on, and a source whose wakes are never
// judged is bounded all the same, for each quarter of an hour and for ever.
func TestWakesThatNobodyJudges(t *testing.T) {
	var b Budget
	a := Allowance{Source: 3, All: 100}
	now, woke := 100*time.Hour, 0
	for i := range 6 * 60 { // one knock a minute
		if b.May(now, "web", scanner, a) {
			b.Charge(now, fmt.Sprint(i), "web", scanner, a)
			woke++
		}
		if i == 0 && !b.May(now, "web", scanner, a) {
			t.Error("its own wake is under way: this is a repetition")
		}
		if i == 14 && woke != 4 {
			t.Errorf("%d wakes in the first quarter of an hour", woke)
		}
		now += time.Minute
	}
	if woke < 18 || woke > 40 { // three an hour for what nobody may call wasted, and one more for each silence of a quarter of an hour
		t.Errorf("%d wakes in six hours", woke)
	}
}

// TestAFloodOfSources: sources that nobody knows share one budget, and cost no memory; who had a useful wake has his own.
func TestAFloodOfSources(t *testing.T) {
	var b Budget
	a := Allowance{Source: 3, All: 4}
	now, woke := 1000*time.Hour, 0
	b.Know(map[netip.Prefix]bool{other: true})
	for i := range 100_000 {
		now += time.Second
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], 0x0a000000+uint32(i))
		source := Source(netip.AddrFrom4(ip))
		if b.May(now, "web", source, a) {
			id := fmt.Sprint(i)
			b.Charge(now, id, "web", source, a)
			b.Settle(id, []Outcome{Wasted, Unclear}[i%2], a)
			woke++
		}
	}
	// 27.8 hours: the four of the beginning, and one each six hours.
	if woke != 8 || len(b.sources) > 10 || len(b.wakes) != 0 {
		t.Errorf("%d wakes, %d accounts, %d wakes not settled", woke, len(b.sources), len(b.wakes))
	}
	if !b.May(now, "web", other, a) {
		t.Error("a client with a good name is shut out by the flood")
	}
	b.Near([]netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")})
	if !b.May(now, "web", scanner, a) || b.May(now, "web", Source(netip.MustParseAddr("198.51.100.1")), a) {
		t.Error("a neighbour is shut out by the flood, or a stranger is not")
	}
	if n := testing.AllocsPerRun(1000, func() { b.May(now, "web", scanner, a) }); n != 0 {
		t.Errorf("%v allocations for each packet", n)
	}
}

// FuzzBudget: whatever happens, nobody wakes more often for nothing than the allowances say, and all is forgotten in the end.
func FuzzBudget(f *testing.F) {
	f.Add(uint8(2), uint8(3), []byte{0, 1, 2, 3, 200, 4, 5})
	f.Fuzz(func(t *testing.T, perSource, all uint8, steps []byte) {
		a := Allowance{Source: int(perSource%8) + 1, All: int(all%8) + 1}
		var b Budget
		now := 50 * time.Hour
		wasted := map[netip.Prefix]int{}
		began, total := now, 0
		for i, s := range steps {
			now += time.Duration(s) * 10 * time.Second
			source := Source(netip.AddrFrom4([4]byte{192, 0, 2, s & 3}))
			if !b.May(now, "web", source, a) {
				continue
			}
			id, outcome := fmt.Sprint(i), Outcome(s>>2%3)
			b.Charge(now, id, "web", source, a)
			b.Settle(id, outcome, a)
			if outcome == Wasted {
				wasted[source]++
				total++
			}
		}
		passed := now - began
		for source, n := range wasted {
			if most := a.Source + int(passed*time.Duration(a.Source)/sourcePeriod) + 1; n > most {
				t.Errorf("%s woke %d times for nothing in %s, %d may be", source, n, passed, most)
			}
		}
		if most := a.All + int(passed*time.Duration(a.All)/allPeriod) + 1; total > most {
			t.Errorf("all woke %d times for nothing in %s, %d may be", total, passed, most)
		}
		b.sweep(now + 48*time.Hour)
		if len(b.sources)+len(b.wakes) != 0 {
			t.Errorf("%d accounts and %d wakes are never forgotten", len(b.sources), len(b.wakes))
		}
	})
}

// Of a neighbour each address counts for itself, of all others the /64.
func TestNeighboursHaveAccountsOfTheirOwn(t *testing.T) {
	var b Budget
	b.Near([]netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("10.77.0.0/24")})
	for addr, want := range map[string]string{
		"2001:db8:1::7": "2001:db8:1::7/128", "fe80::7%eth0": "fe80::7/128", "2001:db8:2::7": "2001:db8:2::/64", "10.77.0.7": "10.77.0.7/32",
		"::ffff:10.77.0.7": "10.77.0.7/32", "192.0.2.7": "192.0.2.7/32",
	} {
		if got := b.Source(netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("%s counts as %s, want %s", addr, got, want)
		}
	}
}

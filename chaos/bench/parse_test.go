package bench

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestStamp(t *testing.T) {
	log := []byte(`time=x level=INFO msg="identity opened" node=h1 service=web epoch=3 reason=move boottime_ns=300
time=x level=INFO msg="identity released" node=h1 service=web epoch=3 reason=move heir=h2 boottime_ns=400
time=x level=INFO msg="identity opened" node=h1 service=web epoch=12 reason=move boottime_ns=1200
`)
	for _, c := range []struct {
		what  string
		epoch uint64
		want  time.Duration
	}{
		{"identity opened", 3, 300},
		{"identity opened", 1, 300},
		{"identity opened", 4, 1200},
		{"identity opened", 13, 0},
		{"identity released", 3, 400},
		{"identity released", 4, 0},
	} {
		if got := stamp(log, c.what, c.epoch); got != c.want {
			t.Errorf("%s from epoch %d on: %d, want %d", c.what, c.epoch, got, c.want)
		}
	}
}

func TestSinceBoot(t *testing.T) {
	now := time.Now()
	a, err := sinceBoot(now.Round(0))
	if err != nil {
		t.Fatal(err)
	}
	b, err := sinceBoot(now.Add(-time.Hour).Round(0))
	if err != nil {
		t.Fatal(err)
	}
	if d := (a - b - time.Hour).Abs(); a <= 0 || d > time.Minute {
		t.Errorf("an hour apart are %v and %v", a, b)
	}
}

// tcp makes a segment in a frame with options in its IP header, as they may be.
func tcp(flags byte, words int) []byte {
	f := make([]byte, 14+words*4+20)
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	f[14], f[23] = 0x40|byte(words), 6
	f[14+words*4+13] = flags
	return f
}

func TestIsSYN(t *testing.T) {
	udp := tcp(2, 5)
	udp[23] = 17
	arp := tcp(2, 5)
	arp[12], arp[13] = 8, 6
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"SYN", tcp(2, 5), true},
		{"SYN with options of IP", tcp(2, 7), true},
		{"SYN with ECN", tcp(0xc2, 5), true},
		{"SYN and ACK", tcp(0x12, 5), false},
		{"ACK", tcp(0x10, 5), false},
		{"RST", tcp(4, 5), false},
		{"UDP", udp, false},
		{"ARP", arp, false},
		{"cut short", tcp(2, 5)[:50], false},
		{"cut in the options", tcp(2, 15)[:60], false},
		{"empty", nil, false},
	} {
		if got := isSYN(c.frame); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// This process stands for an agent: it has used memory and time, and writes.
func TestUsageOfAProcess(t *testing.T) {
	proc := filepath.Join("/proc", strconv.Itoa(os.Getpid()))
	before, err := usageOf(proc)
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	body := bytes.Repeat([]byte{1}, 1<<20)
	after := before
	for after.cpu-before.cpu < 20*time.Millisecond {
		if _, err := null.Write(body[:bytes.LastIndexByte(body, 1)]); err != nil {
			t.Fatal(err)
		}
		bytes.IndexByte(body, 2)
		if after, err = usageOf(proc); err != nil {
			t.Fatal(err)
		}
	}
	if after.rss < 1<<20 || after.peak < after.rss/2 || after.calls <= before.calls {
		t.Errorf("after %v of work: resident %d, at most %d, %d write calls after %d", after.cpu-before.cpu, after.rss, after.peak, after.calls, before.calls)
	}
	if _, err := field(filepath.Join(proc, "status"), "VmNothing:"); err == nil {
		t.Error("a field that is not there has a value")
	}
}

func TestIdleRows(t *testing.T) {
	zero := time.Now()
	look := func(at, cpu time.Duration, written, calls uint64) usage {
		return usage{pid: "1", at: zero.Add(at), cpu: cpu, rss: 30e6, peak: 35e6, written: written, calls: calls}
	}
	s := state{leader: "h1", holder: "h2"}
	before := map[string]usage{"h1": look(0, 0, 0, 0), "h2": look(0, time.Second, 4096, 7), "h3": look(0, 0, 0, 0)}
	after := map[string]usage{
		"h1": look(time.Minute, 600*time.Millisecond, 0, 120),
		"h2": look(time.Minute, 1120*time.Millisecond, 4096, 67),
		"h3": look(time.Minute, 60*time.Millisecond, 8192, 0),
	}
	rows, err := idleRows(s, before, after)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	verdicts := map[string]string{}
	for _, r := range rows {
		if len(r.Samples) != 1 {
			t.Fatalf("%s has %d samples, want 1", r.Name, len(r.Samples))
		}
		got[r.Name], verdicts[r.Name] = r.Samples[0], r.verdict()
	}
	for name, want := range map[string]float64{
		"memory, leader": 30, "memory at most, leader": 35, "processor time, leader": 1, "processor time, holder": 0.2,
		"processor time, follower": 0.1, "written to disk, holder": 0, "written to disk, follower": 8192, "write calls, leader": 2,
		"write calls, holder": 1,
	} {
		if d := got[name] - want; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
	for name, want := range map[string]string{
		"memory, leader": "met", "processor time, leader": "missed", "processor time, holder": "met",
		"written to disk, holder": "met", "written to disk, follower": "missed", "write calls, leader": "",
	} {
		if verdicts[name] != want {
			t.Errorf("%s: %q, want %q", name, verdicts[name], want)
		}
	}
	anew := after["h3"]
	anew.pid = "2"
	after["h3"] = anew
	if _, err := idleRows(s, before, after); err == nil {
		t.Error("an agent that was started anew is compared with the one before")
	}
}

func TestWhoLogsIsNotIdle(t *testing.T) {
	if news := notIdle("h1", ""); news != nil {
		t.Errorf("silence is news: %q", news)
	}
	want := "h1 was not idle: it logged 2 lines meanwhile, the first: one"
	if news := notIdle("h1", "one\ntwo\n"); len(news) != 1 || news[0] != want {
		t.Errorf("it says %q, want %q", news, want)
	}
}

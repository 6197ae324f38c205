package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

const sleepy = `
cluster: lab
interface: eth0
idle: 20m
stay_awake: {users: active, load: 0}
nodes:
  alpha:
    address: 192.0.2.11
    power: sleeps
    idle: 15m
    stay_awake:
      at_least: 5m
      traffic: 100
      ports: [445/tcp, 53/udp, 22]
      ignore_from: [192.0.2.9, "2001:db8::/32", 192.0.2.77/26, "::ffff:192.0.2.1"]
      users: off
      ignore_users: [backup]
      inhibitors: false
      load: 2.5
      network: 0
      processes: rsync
      units: [backup.service]
      commands:
        - [sh, -c, exit 1]
        - {command: [busy], timeout: 500ms}
      hooks: [there, absent]
      schedule: [mon-fri 07:00-20:00, 22:00-06:00, "sat,sun 00:00-24:00", Fri-Mon 1:05-2:00]
      wake_at: [06:30, "mon,wed 05:00"]
      wake_timers: [backup.timer]
      wake_commands: [[next-recording], {command: [sh, -c, date +%s], timeout: 20s}]
  bravo: {address: 192.0.2.12, power: sleeps}
  charlie: {address: 192.0.2.13, idle: 5m}
  delta: {address: 192.0.2.14, power: sleeps, idle: off}
  echo: {address: 192.0.2.15, power: sleeps, idle: 2s}
`

func TestWhatKeepsAHostAwake(t *testing.T) {
	hour, minute := time.Hour, time.Minute
	got, err := Parse("f.yaml", withSecret(t, []byte(sleepy)), "alpha", machine)
	if err != nil {
		t.Fatal(err)
	}
	const weekdays, weekend, all Days = 0b0111110, 0b1000001, 0b1111111
	want := StayAwake{
		AtLeast: 5 * minute, Traffic: 100, Ports: []Port{{"tcp", 445}, {"udp", 53}, {"tcp", 22}},
		IgnoreFrom: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.9/32"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.64/26"), netip.MustParsePrefix("192.0.2.1/32"),
		},
		Users: UsersOff, IgnoreUser: []string{"backup"}, Load: 2.5, Processes: []string{"rsync"}, Units: []string{"backup.service"},
		Commands: []Busy{{[]string{"sh", "-c", "exit 1"}, 5 * time.Second}, {[]string{"busy"}, 500 * time.Millisecond}}, Hooks: []string{"there", "absent"},
		Schedule:   []Span{{weekdays, 7 * hour, 20 * hour}, {all, 22 * hour, 6 * hour}, {weekend, 0, 24 * hour}, {0b1100011, hour + 5*minute, 2 * hour}},
		WakeAt:     []Moment{{all, 6*hour + 30*minute}, {0b0001010, 5 * hour}},
		WakeTimers: []string{"backup.timer"}, WakeAsk: []Busy{{[]string{"next-recording"}, 5 * time.Second}, {[]string{"sh", "-c", "date +%s"}, 20 * time.Second}},
	}
	if got.Idle != 15*minute {
		t.Errorf("idle is %v", got.Idle)
	}
	comparedPrefixes(t, want, got.StayAwake)
	if len(got.Notes) != 3 || !strings.Contains(got.Notes[0], "no command next-recording, which is to say when") || !strings.Contains(got.Notes[1], "no command busy, which") ||
		!strings.Contains(got.Notes[2], "checks.d/absent, which") {
		t.Errorf("the notes are %q", got.Notes)
	}
	for node, want := range map[string]struct {
		idle time.Duration
		note string
	}{
		"bravo": {20 * minute, ""}, "charlie": {5 * minute, "its power is always-on"}, "delta": {0, ""}, "echo": {2 * time.Second, "is for tests"},
	} {
		got, err := Parse("f.yaml", []byte(sleepy), node, nil)
		if err != nil {
			t.Fatal(err)
		}
		top := DefaultStayAwake()
		top.Users, top.Load = UsersActive, 0
		if got.Idle != want.idle || strings.Contains(strings.Join(got.Notes, " "), want.note) != true || (want.note == "") != (len(got.Notes) == 0) {
			t.Errorf("%s: idle %v, notes %q", node, got.Idle, got.Notes)
		}
		comparedPrefixes(t, top, got.StayAwake)
	}
}

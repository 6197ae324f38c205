package fsm

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// fixture is one entry of the log that stands in testdata/vN as the first release with format N wrote it.
type fixture struct {
	file    string
	command Command
}

// formats are the logs of all formats that were ever released, by their folder.
func formats() map[string][]fixture {
	return map[string][]fixture{"v1": v1Log(), "v2": v2Log(), "v2-fit": fitLog(), "v2-drain": drainLog(), "v2-lift": liftLog()}
}

// votedFormat is the log that ends with a configuration of Raft's: the story tells the voters, and remembers them.
const votedFormat = "v2"

// v1Log holds every kind of command, with every field set, and can be applied from first to last.
func v1Log() []fixture {
	web := testService("web", 200)
	web.Addresses = append(web.Addresses, netip.MustParseAddr("fd77::200"))
	c := testNode("c", Sleeps)
	c.Power, c.PowerReason, c.PowerSince, c.Sleeps = Awake, NodeReturned, at(2), 4
	c.Maintenance, c.Joined = true, at(2)
	return []fixture{
		{"01-found", Found{Cluster: Cluster{ID: testID, Name: "home", Created: at(0)}, Failover: time.Second, Services: []Service{web}, By: "a"}},
		{"02-put-node", PutNode{Node: c, At: at(3)}},
		{"03-put-node", PutNode{Node: testNode("a", AlwaysOn), At: at(4)}},
		{"04-put-service", PutService{Service: testService("db", 201), At: at(5), By: "a"}},
		{"05-assign", Assign{Service: "web", Owner: "a", Planned: 0, Reason: FirstOwner, Detail: "best front", At: at(6), By: "a"}},
		{"06-set-power", SetPower{Node: "c", From: Awake, To: Suspending, Sleeps: 4, Reason: OperatorSleep, At: at(7), By: "a"}},
		{"07-set-failover", SetFailover{Failover: 300 * time.Millisecond, At: at(8), By: "a"}},
		{"08-begin-wake", BeginWake{Wake{ID: "w1", Node: "c", Service: "web", Cause: Demand, Client: "10.77.0.100:51234", Port: "tcp/8080", By: "a", Started: at(9)}}},
		{"09-end-wake", EndWake{ID: "w1", Result: WokeUp, At: at(10)}},
		{"10-delete-service", DeleteService{Name: "db", At: at(11), By: "a"}},
		{"11-remove-node", RemoveNode{Name: "c", Reason: NodeLeft, At: at(12)}},
		{"12-put-node", PutNode{Node: testNode("c", Sleeps), At: at(13)}},
		{"13-assign", Assign{Service: "web", Owner: "c", Planned: 1, Reason: TargetReady, Detail: "the target is up", At: at(14), By: "a"}},
	}
}

// v2Log holds what format 2 has more, and what it needs to be applied.
func v2Log() []fixture {
	web := checkedService("web", 200)
	nas := testService("nas", 202)
	nas.Mode, nas.MAC, nas.Hold, nas.Replay = ModeAddress, "", HoldReject, ReplayAll
	nas.Ports = []Port{{Protocol: TCP, Number: 80, Hold: HoldHTTP}, {Protocol: TCP, Number: 22, Hold: HoldProxy}, {Protocol: TCP, Number: 445}}
	rationed := testService("mail", 203)
	rationed.Wake = WakeRules{
		Allow: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24"), netip.MustParsePrefix("fd77::/64")}, Deny: []netip.Prefix{netip.MustParsePrefix("10.77.0.9/32")},
		Budget: 2, BudgetAll: NoLimit, AsleepAtLeast: 30 * time.Second,
	}
	d := testNode("d", AlwaysOn)
	d.Format = 2
	return []fixture{
		{"01-found", Found{Cluster: Cluster{ID: testID, Name: "home", Created: at(0)}, Failover: time.Second, Services: []Service{web}, By: "a"}},
		{"02-put-node", PutNode{Node: d, At: at(3)}},
		{"03-put-service", PutService{Service: checkedService("db", 201), At: at(5), By: "a"}},
		{"04-begin-wake", BeginWake{Wake{ID: "w1", Node: "d", Service: "web", Cause: Demand, Client: "10.77.0.100:51234", Port: "tcp/8080", By: "a", Started: at(6)}}},
		{"05-measure-wake", MeasureWake{Node: "d", Sample: WakeSample{ID: "w1", At: at(7), Phases: Phases{
			Called: 300 * time.Microsecond, Back: 4 * time.Second, Awake: 4100 * time.Millisecond, Ready: 5 * time.Second, Served: 5200 * time.Millisecond,
		}}}},
		{"06-measure-wake", MeasureWake{Node: "d", Sample: WakeSample{ID: "w2", At: at(8), Phases: Phases{Called: time.Millisecond}, Failed: true}}},
		{"07-put-service", PutService{Service: nas, At: at(9), By: "a"}},
		{"08-note-wake", NoteWake{ID: "w1", Note: "woken by rtc_cmos"}},
		{"20-put-service", PutService{Service: rationed, At: at(10), By: "a"}},
		{"21-judge-wake", JudgeWake{ID: "w1", Verdict: Useful, By: "d"}},
		{"22-set-inrush", SetInrush{Limit: 2, At: at(11), By: "a"}},
		{"23-set-power", SetPower{Node: "d", From: Awake, To: Off, Reason: NodeFailed, At: at(12), By: "a"}},
		{"24-set-power", SetPower{Node: "d", From: Off, To: Asleep, Reason: HandedOver, At: at(14), By: "a"}},
		{"25-set-power", SetPower{Node: "d", From: Asleep, To: Awake, Reason: WokeUnasked, At: at(17), By: "d"}},
		{"50-assign", Assign{Service: "web", Owner: "d", Planned: 0, Reason: FirstOwner, Detail: "best front", At: at(18), By: "d"}},
		{"30-put-node-witness", PutNode{Node: testWitness("w"), At: at(10)}},
	}
}

func testWitness(name string) Node {
	n := testNode(name, AlwaysOn)
	n.Format, n.Role = 2, Witness
	return n
}

// checkedService has a check of every kind.
func checkedService(name string, lastByte byte) Service {
	sv := testService(name, lastByte)
	sv.Checks = []Check{
		{Kind: CheckTCP, Port: 8080, Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 3},
		{Kind: CheckHTTP, Port: 80, Path: "/health", Host: "www.example.net", StatusMin: 200, StatusMax: 299, Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 2},
		{Kind: CheckExec, Name: "db-answers", Interval: time.Minute, Timeout: 10 * time.Second, Rise: 1, Fall: 1},
		{Kind: CheckUnit, Name: "pg@main.service", Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 3},
	}
	sv.Unit = Unit{Name: "web.service", Manage: true}
	return sv
}

// readFixture gives the bytes in testdata. With NIGHTPORTER_WRITE_FIXTURES=1 a file that is missing is written first;
// one that exists is never touched: it is what is on the disks of those who run that version.
func readFixture(t *testing.T, format, name string, now []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", format, name)
	if _, err := os.Stat(path); os.IsNotExist(err) && os.Getenv("NIGHTPORTER_WRITE_FIXTURES") == "1" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLogsAndSnapshotsAreRestored(t *testing.T) {
	kinds := map[Kind]bool{}
	for format, log := range formats() {
		t.Run(format, func(t *testing.T) { restoresAll(t, format, log, kinds) })
	}
	for k := range Kind(255) {
		if payloadReader(k) != nil && !kinds[k] {
			t.Errorf("no fixture has kind %d", k)
		}
	}
}

func restoresAll(t *testing.T, format string, log []fixture, kinds map[Kind]bool) {
	s := Empty()
	for i, f := range log {
		stored := readFixture(t, format, f.file+".entry", mustEncode(t, f.command))
		c, err := Decode(stored)
		if err != nil {
			t.Fatalf("%s: %v", f.file, err)
		}
		if got := mustEncode(t, c); !bytes.Equal(got, mustEncode(t, f.command)) {
			t.Fatalf("%s means something else now:\n got %s\nwant %s", f.file, got, mustEncode(t, f.command))
		}
		if got := mustEncode(t, f.command); !bytes.Equal(got, stored) {
			t.Errorf("%s is written differently now; a new form needs a new format version:\n now %s\n was %s", f.file, got, stored)
		}
		kinds[c.kind()] = true
		s = play(t, s, uint64(10+i), c)
	}
	last := uint64(10 + len(log) - 1)
	if format == votedFormat {
		last++
		s = Reconfigured(s, last, "d", time.Time{})
	}
	now, err := encodeSnapshot(last, s)
	if err != nil {
		t.Fatal(err)
	}
	index, restored, err := decodeSnapshot(readFixture(t, format, "snapshot", now))
	if err != nil || index != last {
		t.Fatalf("snapshot of entry %d: %v", index, err)
	}
	sameState(t, "the stored snapshot", restored, s)
}

package api

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden file anew")

// The golden file is the contract: a change of it is a change of what scripts read.
func TestStatusJSONIsStable(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000000, time.UTC)
	in := Status{
		Node: "alpha", Time: at, Known: Known{Index: 412, Current: true, Age: Duration(80 * time.Millisecond)}, Version: "v0.1", Cluster: Cluster{ID: "00ff", Name: "home"}, Leader: "bravo",
		Quorum:   Quorum{Voters: []string{"alpha", "bravo", "charlie"}, Awake: []string{"alpha", "bravo"}, Needed: 2, Have: true},
		Failover: Duration(300 * time.Millisecond), FailoverFile: Duration(time.Second),
		LAN:      LAN{Interface: "eth0", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}},
		Sleep:    HostSleep{How: "deep", Able: true, Why: "no", Delay: "held", DelayWhy: "no answer", DelayMax: Duration(5 * time.Second)},
		Problems: []string{"the clock is wrong"}, Troubles: []Trouble{{What: "the clock is wrong", Do: "set it"}},
		Services: []ServiceStatus{{
			Service: web, ModeGives: "its own MAC", Owner: "alpha", OwnerState: "holding", Epoch: 12, Reason: "owner-sleeps", Since: at, Cause: "its owner was about to sleep", By: "bravo", Role: "holding",
			Holder:  Holder{Source: "vote", Lease: "granted", LeaseAge: Duration(100 * time.Millisecond), Fence: "open"},
			Lease:   Lease{State: "held", Epoch: 12, Left: Duration(123456789), Refused: []Refusal{{Voter: "charlie", Reason: "amnesia", Holder: "delta", Left: Duration(time.Second)}}},
			Fence:   Fence{Kind: "nft", State: "open", Limits: []string{"a clock that is set back"}},
			Health:  []TargetHealth{{Node: "delta", State: "failing", Detail: "tcp 8080: connection refused", Age: Duration(time.Second)}},
			Waiting: Waiting{Attempts: 2, Connections: 1, Shut: []string{"tcp 192.0.2.200:22"}},
		}},
		Nodes: []NodeStatus{{
			Name: "delta", Alive: false, Power: "asleep", PowerReason: "operator-sleep", Cause: "somebody put it to sleep", Since: at, Policy: "sleeps", Voter: true, Leader: true,
			Maintenance: true, Drain: Drain{Since: at, By: "alpha", Text: "new disk", Force: true}, Secrets: []string{"00112233"}, Fit: true, Addr: netip.MustParseAddrPort("192.0.2.14:7374"), Wake: []MAC{{2, 0, 0, 0, 0, 4}}, LastSeen: at, Version: "v0.1",
			WakeFitness: &WakeFitness{
				Why: "it could not be woken", CannotBeWoken: true, WoL: "unarmed", WoLDetail: "no card", SecureOn: true, Mode: "auto", Fingerprint: "00ff", Since: at,
				Revoked: "wake-failed", RevokedAt: at, RevokedDetail: "called", MaySleep: true, Canary: CanaryResult{
					Node: "delta", Passed: true, Result: "canary-passed", Detail: "it came back", Auto: true, By: "alpha", Began: at, Ended: at,
					Phases: []PhaseTime{{Phase: "awake", After: Duration(time.Second)}},
				},
			},
			Wakes: WakeTimes{Woken: 70, Failures: 2, Limit: Duration(15 * time.Second), Phases: []PhaseTimes{
				{Phase: "ready", Count: 62, P50: Duration(3 * time.Second), P95: Duration(4 * time.Second), Max: Duration(5 * time.Second)},
			}},
		}},
	}
	got, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "status.json")
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var back Status
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, back, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
}

func TestPortsAndMACsThatAreRefused(t *testing.T) {
	for _, s := range []string{"", "0/tcp", "65536/tcp", "80", "80/", "tcp/80", "80/sctp", "-1/tcp"} {
		var p Port
		if err := p.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("port %q gives %v", s, p)
		}
	}
	var m MAC
	if err := m.UnmarshalText([]byte("02:00")); err == nil {
		t.Errorf("a short hardware address gives %v", m)
	}
	if err := m.UnmarshalText(nil); err != nil || m != nil {
		t.Errorf("no hardware address gives %v, %v", m, err)
	}
}

func TestDurationsSurviveJSON(t *testing.T) {
	for _, want := range []Duration{0, 1, 999_999_999, Duration(300 * time.Millisecond), Duration(48 * time.Hour), -Duration(time.Second), 100_000_000_000_001} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Duration
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("%d came back as %d by way of %s (%v)", want, got, b, err)
		}
	}
}

package agent

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/fsm"
)

// defined is a service at 10.77.0.N.
func defined(name string, n byte) fsm.Service {
	return fsm.Service{
		Name: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 77, 0, n})}, MAC: fsm.MAC([]byte{2, 0, 0, 0, 0, n}), Targets: []string{"alpha"}, Hold: fsm.HoldDrop,
		Ports: []fsm.Port{{Protocol: fsm.TCP, Number: 80}},
	}
}

// What a restore is about to do is judged as a whole, on a copy, by the rules of the log.
func TestARestoreIsForeseen(t *testing.T) {
	const other = "ffffffffffffffffffffffffffffffff"
	state := fsm.Empty()
	state.Cluster = fsm.Cluster{ID: "00112233445566778899aabbccddeeff", Name: "home"}
	state.Timing = fsm.Timing{Failover: time.Second, Largest: time.Second}
	for i, name := range []string{"alpha", "bravo"} {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(11 + i)}), 7373)
		state.Nodes[name] = fsm.Node{Name: name, Key: name, Policy: fsm.AlwaysOn, Power: fsm.Awake, Format: fsm.Format, Addr: at, Gossip: at}
	}
	state.Services["web"], state.Services["old"] = defined("web", 200), defined("old", 201)
	state.Ownerships["web"] = fsm.Ownership{Owner: "alpha", Epoch: 7, Reason: fsm.FirstOwner}
	view := func(s fsm.State, alive ...string) cluster.View {
		v := cluster.View{Self: "alpha", State: &s, Present: make(map[string]cluster.Presence), Timing: cluster.Derive(time.Second)}
		for _, n := range alive {
			v.Present[n] = cluster.Presence{Alive: true, Power: fsm.Awake}
		}
		return v
	}
	aged := *state
	aged.Nodes = map[string]fsm.Node{"alpha": state.Nodes["alpha"], "bravo": state.Nodes["bravo"]}
	bravo := aged.Nodes["bravo"]
	bravo.Format = 0
	aged.Nodes["bravo"] = bravo
	both, alone, late := view(*state, "alpha", "bravo"), view(*state, "alpha"), view(aged, "alpha", "bravo")
	put := func(sv fsm.Service) fsm.Command { return fsm.PutService{Service: sv} }
	lift := fsm.LiftEpochs{From: other, Floor: 1 << 24}
	checked := defined("mail", 202)
	checked.Replay = fsm.ReplayAll
	for name, c := range map[string]struct {
		view cluster.View
		list []fsm.Command
		says string // "" = nothing is refused
		left string // the host whose maintenance is left out
	}{
		"nothing":                   {view: both},
		"an address that is held":   {both, []fsm.Command{put(defined("web", 210))}, "", ""},
		"one that another one has":  {both, []fsm.Command{put(defined("web", 201))}, "already belongs to service old", ""},
		"which is deleted before":   {both, []fsm.Command{fsm.DeleteService{Name: "old"}, put(defined("web", 201))}, "", ""},
		"two that are exchanged":    {both, []fsm.Command{put(defined("old", 200)), put(defined("web", 201))}, "already belongs to service web", ""},
		"a host's own address":      {both, []fsm.Command{put(defined("mail", 12))}, "10.77.0.12 is the node bravo's own", ""},
		"two new ones with one":     {both, []fsm.Command{put(defined("mail", 202)), put(defined("nas", 202))}, "already belongs to service mail", ""},
		"a failover out of range":   {both, []fsm.Command{fsm.SetFailover{Failover: time.Minute}}, "is out of range", ""},
		"a lift before all of it":   {both, []fsm.Command{lift, put(defined("web", 210)), put(defined("mail", 202))}, "", ""},
		"a lift that is older":      {late, []fsm.Command{lift}, "bravo would have to stop", ""},
		"a definition that is":      {late, []fsm.Command{put(checked)}, "bravo would have to stop", ""},
		"one that all can read":     {late, []fsm.Command{put(defined("mail", 202))}, "", ""},
		"a maintenance":             {both, []fsm.Command{fsm.SetDrain{Node: "alpha", On: true}}, "", ""},
		"where nobody else is left": {alone, []fsm.Command{fsm.SetDrain{Node: "alpha", On: true}}, "", "alpha"},
		"and it is changed before":  {alone, []fsm.Command{put(defined("web", 210)), fsm.SetDrain{Node: "alpha", On: true}}, "", "alpha"},
		"which was forced":          {alone, []fsm.Command{fsm.SetDrain{Node: "alpha", On: true, Force: true}}, "", ""},
		"of one and then the other": {both, []fsm.Command{fsm.SetDrain{Node: "bravo", On: true}, fsm.SetDrain{Node: "alpha", On: true}}, "", "alpha"},
	} {
		before, err := fsm.EncodeState(c.view.State)
		if err != nil {
			t.Fatal(err)
		}
		left, err := foresee(c.view, "restore", c.list)
		if (err == nil) != (c.says == "") || err != nil && (!strings.HasPrefix(err.Error(), "cannot restore: ") || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "nothing was changed")) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if len(left) > 1 || (len(left) == 1) != (c.left != "") || c.left != "" && (left[0].Node != c.left || !strings.HasPrefix(left[0].Why, "nobody else could hold service web now (")) {
			t.Errorf("%s: without the maintenance of %+v, want %q", name, left, c.left)
		}
		if after, err := fsm.EncodeState(c.view.State); err != nil || string(after) != string(before) {
			t.Errorf("%s: the state was changed (%v)", name, err)
		}
	}
}

// A lift is above what the backup has, what this cluster has, and what can have been used since.
func TestALiftIsAboveAll(t *testing.T) {
	now := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	minute := uint64(now.Sub(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Minute)
	state := fsm.Empty()
	for _, c := range []struct{ here, there, want uint64 }{
		{7, 9, minute << 24}, {minute<<24 + 5, 9, (minute + 1) << 24}, {7, (minute+3)<<24 + 1, (minute + 4) << 24},
	} {
		state.Ownerships["web"] = fsm.Ownership{Epoch: c.here}
		got, err := liftOf(state, api.Epochs{Cluster: "c", Highest: c.there}, now)
		if err != nil || got.Floor != c.want || got.From != "c" || !got.At.Equal(now) {
			t.Errorf("%d here and %d there: %+v, %v", c.here, c.there, got, err)
		}
	}
	if got, err := liftOf(state, api.Epochs{Highest: epochsEnd - 1}, now); err == nil {
		t.Errorf("above the end there is %d", got.Floor)
	}
}

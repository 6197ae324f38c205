package cluster

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A host that was started anew, with another description, is known by that as soon as a join has returned, though gossip holds its former life's for
// newer: that one had contradicted rumours of its death.
func TestAJoinTellsWhatAHostSaysNow(t *testing.T) {
	home := netip.MustParseAddrPort("127.0.0.1:0")
	said := &lines{}
	start := func(name string, at netip.AddrPort, m Meta, word func(string, Meta)) (*Gossip, netip.AddrPort) {
		m.Name = "c"
		g, err := StartGossip(GossipConfig{
			Node: name, Cluster: "c", Bind: at, Advertise: at, Key: bytes.Repeat([]byte{1}, 32), Timing: Derive(time.Second), Meta: m,
			Log: slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug})), OnChange: func() {}, OnMessage: func(Message) {},
			OnConflict: func(string) {}, OnWord: word,
		})
		if err != nil {
			t.Fatal(err)
		}
		return g, netip.AddrPortFrom(home.Addr(), g.list.LocalNode().Port)
	}
	heard := make(map[string]Meta)
	a, _ := start("a", home, Meta{}, func(node string, m Meta) { heard[node] = m })
	defer a.Shutdown()
	b, at := start("b", home, Meta{Cluster: "aa"}, nil)
	for range 3 { // each raises its count
		if err := b.SetMeta(Meta{Name: "c", Cluster: "aa", Sleeps: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Join([]string{at.String()}); err != nil {
		t.Fatal(err)
	}
	if heard["b"].Cluster != "aa" || heard["b"].Sleeps != 1 {
		t.Fatalf("it says %+v", heard["b"])
	}
	if err := b.Shutdown(); err != nil {
		t.Fatal(err)
	}
	b, at = start("b", at, Meta{Cluster: "bb"}, nil)
	defer b.Shutdown()
	if _, err := a.Join([]string{at.String()}); err != nil {
		t.Fatal(err)
	}
	if heard["b"].Cluster != "bb" {
		t.Errorf("it says %+v; gossip has %+v", heard["b"], a.Members())
	}
	if _, own := heard["a"]; own {
		t.Error("a host is told of itself")
	}
	until(t, "it contradicts what is told of its former life", func() bool { return strings.Contains(said.String(), "an older description of this host: refuted") })
	if words := said.String(); strings.Contains(words, "meta:") {
		t.Errorf("of its former life it says: %s", words)
	}
}

func TestAWordOfNonsense(t *testing.T) {
	heard := 0
	g := &Gossip{conf: GossipConfig{Node: "a", Cluster: "c", OnWord: func(string, Meta) { heard++ }}, log: slog.New(slog.DiscardHandler)}
	good, err := Meta{Name: "c"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	other, err := Meta{Name: "d"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, {0}, []byte("b"), []byte("b\x00"), []byte("b\x00{}x"), append([]byte{0}, good...), append([]byte("a\x00"), good...), append([]byte("b\x00"), other...)} {
		(*delegate)(g).MergeRemoteState(b, true)
	}
	if heard != 0 {
		t.Errorf("%d of them were taken for a word", heard)
	}
	if (*delegate)(g).MergeRemoteState(append([]byte("b\x00"), good...), true); heard != 1 {
		t.Error("a word was not heard")
	}
}

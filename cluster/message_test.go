package cluster

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"nightporter/fsm"
	"nightporter/lease"
)

func fullMessage() Message {
	rel := lease.Release{Service: "web", Epoch: 3, Node: "a", Incarnation: 9, Seq: 4}
	return Message{
		From: "a", Cluster: testID,
		Requests:  []lease.Request{{Service: "web", Epoch: 4, Node: "b", Incarnation: 1 << 63, Seq: 5, Config: 6, TTL: 666e6, Prior: &rel}},
		Answers:   []lease.Answer{{Voter: "c", Service: "web", Epoch: 4, Node: "b", Incarnation: 2, Seq: 5, Refusal: lease.HeldByOther, Holder: "a", Remaining: 1e8}},
		Releases:  []lease.Release{rel},
		Acks:      []lease.Ack{{Voter: "c", Service: "web", Epoch: 3, Node: "a", Incarnation: 9, Seq: 4}},
		Committed: &Mark{17, 2},
		Prepared:  []Tenure{{"web", 4}},
		Handed:    []lease.Release{rel},
		Open:      []Tenure{{"web", 4}},
		Wake:      []WakeCall{{ID: "w1", Node: "d", Service: "web", Cause: fsm.OperatorSleep, Client: "10.0.0.9", Port: "tcp/8080", Sleeps: 2}},
		Listening: []Listening{{Service: "web", Epoch: 4, TCP: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.9:80")}, UDP: []netip.AddrPort{netip.MustParseAddrPort("[fd77::9]:53")}}},
		Flows: []Flows{{Service: "web", Target: "d", Epoch: 3, Total: 1, Flows: []Flow{{
			Client: netip.MustParseAddrPort("10.0.0.7:40000"), Dest: netip.MustParseAddrPort("10.0.0.9:80"), Next: 1<<32 - 1, Window: 501, Known: true,
		}}}},
		FlowsKnown: []Tenure{{"web", 3}},
		VoteCheck:  &VoteCheck{}, VoteState: &VoteState{Warm: true, Index: 17},
	}
}

func TestMessageRoundTrip(t *testing.T) {
	for _, m := range []Message{{From: "a"}, fullMessage()} {
		b, err := EncodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeMessage(b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
	if b, _ := EncodeMessage(Message{From: "a", Requests: fullMessage().Requests}); len(b) > 250 {
		t.Errorf("a lease request has %d bytes", len(b))
	}
}

func TestMessageRefusals(t *testing.T) {
	good, err := EncodeMessage(fullMessage())
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "version only": {messageVersion}, "another version": append([]byte{messageVersion + 1}, good[1:]...),
		"cut off": good[:len(good)-1], "something behind it": append(bytes.Clone(good), '{'), "nobody's": append([]byte{messageVersion}, `{"c":{"i":1}}`...),
		"negative index": append([]byte{messageVersion}, `{"f":"a","c":{"i":-1,"t":1}}`...),
		"too long":       append([]byte{messageVersion}, bytes.Repeat([]byte(" "), MaxMessage)...),
	} {
		if m, err := DecodeMessage(b); err == nil || !reflect.DeepEqual(m, Message{}) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	if _, err := EncodeMessage(Message{From: strings.Repeat("a", MaxMessage)}); err == nil {
		t.Error("a message that is too long was encoded")
	}
}

// FuzzDecodeMessage: whatever arrives, the decoder survives it (I10), and what it accepts it can say again.
func FuzzDecodeMessage(f *testing.F) {
	good, err := EncodeMessage(fullMessage())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{messageVersion, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			if !reflect.DeepEqual(m, Message{}) {
				t.Fatalf("an error and yet %+v", m)
			}
			return
		}
		again, err := EncodeMessage(m)
		if err != nil {
			return // grew beyond the bound by escaping
		}
		if back, err := DecodeMessage(again); err != nil || back.From != m.From {
			t.Fatalf("%q came back as %+v, %v", again, back, err)
		}
	})
}

func fullMeta() Meta {
	return Meta{
		Cluster: testID, Name: "home", Protocol: 1, Version: "v0.1.0", Pin: strings.Repeat("ab", 32), Digest: "0011223344556677",
		Raft: netip.MustParseAddrPort("10.0.0.1:7374"), Wake: []fsm.MAC{fsm.MAC("\x02\x00\x00\x00\x00\x01")}, Policy: fsm.Sleeps,
		Power: fsm.Suspending, Sleeps: 3, Incarnation: 1 << 62, Promised: "b", Unfit: "eth0 is down", Format: 2, Former: []string{"0011223344ff", "ff1122334455"}, Silent: true, Secrets: []string{"00112233", "44556677"},
	}
}

func TestMetaRoundTrip(t *testing.T) {
	for _, m := range []Meta{{Name: "home"}, fullMeta()} {
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeMeta(b); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
}

// TestMetaFits: the largest description of an ordinary host fits into gossip, and an unfit host can always say so.
func TestMetaFits(t *testing.T) {
	m := fullMeta()
	m.Name, m.Promised, m.Version = strings.Repeat("n", 32), strings.Repeat("p", 32), "v0.1.0-123-g0123456789ab"
	m.Digest = strings.Repeat("cd", 32)
	m.Raft = netip.MustParseAddrPort("[fd77:1234:5678:9abc:def0:1234:5678:9abc]:7374")
	m.Unfit = strings.Repeat("<&>", 60) // JSON makes six bytes of each of these
	b, err := m.Encode()
	if err != nil || len(b) > MetaMax {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if got, err := DecodeMeta(b); err != nil || len(got.Unfit) < unfitMin || got.Digest != m.Digest[:16] {
		t.Errorf("%+v, %v", got, err)
	}
	for len(m.Wake) < 64 {
		m.Wake = append(m.Wake, m.Wake[0])
	}
	if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), "fewer wake addresses") {
		t.Errorf("a description that does not fit: %v", err)
	}
	if _, err := (Meta{Pin: "xyz"}).Encode(); err == nil {
		t.Error("a pin that is no hex was encoded")
	}
}

func FuzzDecodeMeta(f *testing.F) {
	good, err := fullMeta().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"n":"x","w":["AAAA"]}`))
	f.Add([]byte(`{"n":"x","r":"1.2.3.4"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMeta(b)
		if err != nil {
			if !reflect.DeepEqual(m, Meta{}) {
				t.Fatalf("an error and yet %+v", m)
			}
			return
		}
		again, err := m.Encode()
		if err != nil {
			return // grew beyond the bound by escaping
		}
		if back, err := DecodeMeta(again); err != nil || back.Name != m.Name || back.Raft != m.Raft {
			t.Fatalf("%q came back as %+v, %v", again, back, err)
		}
	})
}

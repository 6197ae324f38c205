package fsm

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestHeader(t *testing.T) {
	b := mustEncode(t, EndWake{ID: "w1", Result: GaveUp, At: at(1)})
	want := append([]byte{'N', 'P', 1, 10, 0}, `{"id":"w1","result":"gave-up","at":"2026-11-21T06:00:01Z"}`...)
	if !bytes.Equal(b, want) {
		t.Fatalf("got %q, want %q", b, want)
	}
	if b := mustEncode(t, DeleteService{Name: "web"}); b[4] != flagUnderstand {
		t.Fatalf("flags are %#x: a deletion that is passed over makes two truths", b[4])
	}
}

func TestDecodeRefuses(t *testing.T) {
	cases := []struct {
		name  string
		bytes string
		want  error
	}{
		{"nothing", "", ErrMalformed},
		{"no magic", "XX\x01\x06\x01{}", ErrMalformed},
		{"cut header", "NP\x01\x06", ErrMalformed},
		{"cut payload", "NP\x01\x06\x01{", ErrMalformed},
		{"no payload", "NP\x01\x06\x01", ErrMalformed},
		{"two payloads", "NP\x01\x06\x01{}{}", ErrMalformed},
		{"wrong type", "NP\x01\x06\x01{\"name\":7}", ErrMalformed},
		{"bad MAC", "NP\x01\x05\x01{\"service\":{\"mac\":\"02:00\"}}", ErrMalformed},
		{"new kind, to be understood", "NP\x01\xc8\x01{}", ErrMustUnderstand},
		{"new kind, ignorable", "NP\x01\xc8\x00{}", ErrIgnorable},
		{"kind 0", "NP\x01\x00\x01{}", ErrMustUnderstand},
		{"a format of another kind", "NP\x02\x06\x01{}", ErrMustUnderstand},
		{"new format of a definition", "NP\x03\x05\x01{}", ErrMustUnderstand},
		{"new format, to be understood", "NP\x02\x06\x01\xff", ErrMustUnderstand},
		{"new format, ignorable", "NP\x02\x0a\x00\xff", ErrIgnorable},
		{"reserved flag", "NP\x01\x06\x03{}", ErrMustUnderstand},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got, err := Decode([]byte(c.bytes)); !errors.Is(err, c.want) || got != nil {
				t.Fatalf("%v, %v", got, err)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, c := range map[string]Command{
		"nil":       nil,
		"too large": Assign{Service: "web", Detail: strings.Repeat("x", MaxCommand)},
		"year":      DeleteService{Name: "web", At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if b, err := Encode(c); err == nil {
			t.Errorf("%s: encoded to %q", name, b)
		}
	}
}

func TestStateRoundTrip(t *testing.T) {
	for _, s := range []*State{Empty(), world(t)} {
		got, err := DecodeState(bytesOf(t, s))
		if err != nil {
			t.Fatal(err)
		}
		sameState(t, "after a round trip", got, s)
	}
	sameState(t, "nil", nil, Empty())
}

func TestDecodeStateRefuses(t *testing.T) {
	good := string(bytesOf(t, world(t)))
	cases := []struct {
		name  string
		bytes string
		want  error
	}{
		{"nothing", "", ErrMalformed},
		{"only magic", "NPS", ErrMalformed},
		{"version 0", "NPS\x00{}", ErrMalformed},
		{"newer", "NPS\x03{}", ErrNewerFormat},
		{"cut short", good[:len(good)-1], ErrMalformed},
		{"more behind", good + "x", ErrMalformed},
		{"missing table", `NPS` + "\x01" + `{"nodes":null}`, ErrMalformed},
		{"service under another name", strings.Replace(good, `"name":"db"`, `"name":"dc"`, 1), ErrMalformed},
		{"node under another name", strings.Replace(good, `{"name":"b"`, `{"name":"x"`, 1), ErrMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := DecodeState([]byte(c.bytes)); !errors.Is(err, c.want) {
				t.Fatalf("error is %v", err)
			}
		})
	}
	for _, bad := range []string{"", "NPX", "NPX\x01\x00\x00", "NPX\x01\x00\x00\x00\x00\x00\x00\x00\x09NP", "NPX\x02" + good} {
		if _, _, err := decodeSnapshot([]byte(bad)); err == nil {
			t.Errorf("%q was taken for a snapshot", bad)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, x := range v1Log() {
		f.Add(mustEncode(f, x.command))
	}
	s := world(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrIgnorable) && !errors.Is(err, ErrMustUnderstand) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := Encode(c)
		if err != nil {
			if len(b) < MaxCommand/64 { // escapes such as \u003c and lists of {} make it longer
				t.Fatalf("what was read cannot be written: %v", err)
			}
			return
		}
		if back, err := Decode(again); err != nil || !bytes.Equal(mustEncode(t, back), again) {
			t.Fatalf("round trip: %v", err)
		}
		next, res := Apply(s, 99, c)
		if res.Refused != "" && next != s {
			t.Fatal("a refused command changed the state")
		}
		if restored, err := DecodeState(bytesOf(t, next)); err != nil {
			t.Fatalf("no snapshot can be taken after it: %v", err)
		} else {
			sameState(t, "snapshot after it", restored, next)
		}
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	for _, s := range []*State{Empty(), world(f)} {
		b, err := encodeSnapshot(7, s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		index, s, err := decodeSnapshot(b)
		if err != nil {
			return
		}
		again, err := encodeSnapshot(index, s)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		index2, s2, err := decodeSnapshot(again)
		if err != nil || index2 != index {
			t.Fatalf("round trip: %d, %v", index2, err)
		}
		sameState(t, "round trip", s2, s)
		Apply(s, index, Assign{Service: "web", Owner: "a", Planned: 1, Reason: OwnerFailed})
	})
}

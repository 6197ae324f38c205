package lab_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"nightporter/chaos/lab"
)

// Every frame is seen where it comes in and where it goes out, in that order, at a time between before and after; and
// the file has the same.
func TestCapture(t *testing.T) { inBoth(t, lab.Options{Hosts: 2, NoAgent: true}, captured) }

func captured(t *testing.T, l *lab.Lab) {
	ctx := limit(t)
	var file bytes.Buffer
	c, err := l.Capture(ctx, &file, false)
	if err != nil {
		t.Fatal(err)
	}
	h1, s := l.Host("h1"), newSender(t, l.Client(1))
	frame := s.raw(l.Client(1).MAC(), h1.MAC(), []byte("seen at both ports"))
	before := time.Now()
	s.send(frame)
	var seen []lab.Frame
	watch(ctx, t, c, "", func(f lab.Frame) bool {
		if bytes.Equal(f.Data, frame) {
			seen = append(seen, f)
		}
		return f.Port == "h1" && f.ToHost && f.EtherType() == 0x0842
	})
	after := time.Now()
	if len(seen) < 2 || seen[0].Port != "c1" || seen[0].ToHost {
		t.Fatalf("the frame was seen as %+v", seen)
	}
	for _, f := range seen {
		if f.Time.Before(before) || f.Time.After(after) || f.Length != len(frame) {
			t.Errorf("%+v, want a time between %v and %v and %d bytes", f, before, after, len(frame))
		}
	}
	s.send(s.ping(h1))
	watch(ctx, t, c, "", func(f lab.Frame) bool { return s.answers(f, h1, unix.ETH_P_IP) })
	dropped, err := c.Stop()
	if err != nil || dropped != 0 {
		t.Fatalf("the capture lost %d frames (%v)", dropped, err)
	}
	r, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for ports := map[string]bool{}; !ports["c1"] || !ports["h1"]; {
		data, info, err := r.ReadPacketData()
		if err != nil {
			t.Fatalf("the file ends before the frame was found at both ports (%v): %v", ports, err)
		}
		iface, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(data, frame) {
			ports[iface.Name] = true
		}
	}
}

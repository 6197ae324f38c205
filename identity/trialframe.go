package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
)

// TestFrames is what was heard of another host's test frames.
type TestFrames struct {
	Node string           // who sends them, by its own word
	MAC  net.HardwareAddr // its test MAC
	Own  int              // frames that came from its card's own MAC
	Test int              // frames that came from its test MAC
}

// testType is the EtherType of test frames: the first of those for experiments in one LAN (IEEE 802, Local Experimental EtherType 1). Hosts drop
// what they do not know.
const testType = 0x88b5

// testMark begins a test frame's payload, before the sum of the cluster's name, the two MACs and the sender's name.
var testMark = []byte("nightporter test 1\x00")

// testEvery is the pause between two test frames. A switch learns a MAC from the first one.
const testEvery = 200 * time.Millisecond

// TestMAC is the MAC that a host's test frames come from: always the same one, so that a switch that counts MACs counts it once. It is no
// service's: those begin otherwise (DeriveMAC), and so do cards.
func TestMAC(cluster, node string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("nightporter test frame\x00" + cluster + "\x00" + node))
	return append(net.HardwareAddr{0x06, 0x4e, 0x50}, sum[:3]...) // locally administered, of one station
}

// ExchangeTestFrames listens at an interface for the test frames of other hosts, and with send sends some: broadcasts of a kind that everybody
// drops, by turns from the card's own MAC and from TestMAC. Who hears the one sort and not the other knows that the way does not let a second MAC
// pass. No identity's MAC is ever used, so no table has one of those elsewhere for it.
func ExchangeTestFrames(ctx context.Context, lower, cluster, node string, send bool, wait time.Duration) ([]TestFrames, error) {
	ifi, err := net.InterfaceByName(lower)
	if err != nil {
		return nil, fmt.Errorf("sending test frames by %s: %w", lower, err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, testType, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket on %s (CAP_NET_RAW is needed): %w", lower, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	mine := testBody(cluster, node, ifi.HardwareAddr)
	var out []TestFrames
	buf := make([]byte, 2048)
	for end := time.Now().Add(wait); time.Now().Before(end) && ctx.Err() == nil; {
		if send {
			for _, from := range []net.HardwareAddr{ifi.HardwareAddr, TestMAC(cluster, node)} {
				if err := sendTest(conn, from, mine); err != nil {
					return out, fmt.Errorf("sending a test frame by %s: %w", lower, err)
				}
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(testEvery)); err != nil {
			return out, fmt.Errorf("listening for test frames: %w", err)
		}
		for {
			n, _, err := conn.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return out, fmt.Errorf("listening for test frames on %s: %w", lower, err)
			}
			out = heardTest(out, buf[:n], cluster, node)
		}
	}
	return out, ctx.Err()
}

func sendTest(conn *packet.Conn, from net.HardwareAddr, body []byte) error {
	f := ethernet.Frame{Destination: ethernet.Broadcast, Source: from, EtherType: testType, Payload: body}
	raw, err := f.MarshalBinary()
	if err != nil {
		return err
	}
	_, err = conn.WriteTo(raw, &packet.Addr{HardwareAddr: ethernet.Broadcast})
	return err
}

// testBody is what a host's test frames say, whichever MAC they come from.
func testBody(cluster, node string, card net.HardwareAddr) []byte {
	sum := sha256.Sum256([]byte(cluster))
	return bytes.Join([][]byte{testMark, sum[:8], card, {byte(len(node))}, []byte(node)}, nil)
}

// heardTest counts one frame, if it is a test frame of another host of the cluster.
func heardTest(all []TestFrames, raw []byte, cluster, self string) []TestFrames {
	var f ethernet.Frame
	fixed := len(testMark) + 8 + 6 + 1
	if f.UnmarshalBinary(raw) != nil || f.EtherType != testType || len(f.Payload) < fixed {
		return all
	}
	long := int(f.Payload[fixed-1])
	if len(f.Payload) < fixed+long {
		return all
	}
	node, card := string(f.Payload[fixed:fixed+long]), net.HardwareAddr(bytes.Clone(f.Payload[fixed-7:fixed-1]))
	if node == self || !bytes.Equal(f.Payload[:fixed+long], testBody(cluster, node, card)) {
		return all
	}
	i := 0
	for ; i < len(all) && all[i].Node != node; i++ {
	}
	if i == len(all) {
		all = append(all, TestFrames{Node: node, MAC: TestMAC(cluster, node)})
	}
	switch {
	case bytes.Equal(f.Source, card):
		all[i].Own++
	case bytes.Equal(f.Source, all[i].MAC):
		all[i].Test++
	}
	return all
}

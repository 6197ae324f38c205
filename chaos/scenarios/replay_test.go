package scenarios

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// logged waits until the log of a host says something, after as many bytes of it as there were.
func (w *world) logged(host string, from int, what string) {
	w.Helper()
	says := regexp.MustCompile(what)
	w.await(host+" logs "+what, func() string {
		if !says.Match([]byte(w.agentLog(host)[from:])) {
			return "it does not"
		}
		return ""
	})
}

// A target whose service is still starting refuses nobody: its clients wait, those that knocked at the front and those that come
// now, and are connected when it listens.
func TestAServiceThatStartsLate(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Targets: []string{"h4"}, Hold: config.HoldDrop,
		Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}, {Protocol: "tcp", Number: talkPort}},
	}}})
	w.settled(nil, 3)
	w.sleep("h4")
	late := netip.AddrPortFrom(lab.ServiceAddr(), talkPort)
	connected := make(chan time.Time, 2)
	connect := func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := w.lab.Client(1).Dial(ctx, "tcp", late)
		if err != nil {
			t.Errorf("a client that waits: %v", err)
		} else {
			c.Close()
		}
		connected <- time.Now()
	}
	go connect()
	w.awaitServing("h4")
	w.connect("c1", "h4") // at the port that is served
	go connect()
	w.await("the second client waits at the target", func() string {
		st, err := w.ask("h4")
		if s, _ := service(st, web); err != nil || s.Waiting.Attempts == 0 || len(s.Waiting.Shut) != 1 {
			return fmt.Sprintf("%+v, %v", s.Waiting, err)
		}
		return ""
	})
	select {
	case <-connected:
		t.Fatal("a client does not wait for the service")
	default:
	}
	from := len(w.agentLog("h4"))
	w.serveSessions()
	began := time.Now()
	for range 2 {
		t.Logf("connected %v after the service said that it listens", (<-connected).Sub(began))
	}
	w.logged("h4", from, `msg="let in who waited here".*frames=`)
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}

// A client on the front itself waits for the target as others do, though its SYN never was on a wire.
func TestAClientOnTheFrontWakesTheTarget(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	front := w.sleep("h4")
	from := len(w.agentLog(front))
	r := w.connect(front, "h4")
	t.Logf("connected after %v", r.Connected)
	w.logged(front, from, `msg="replayed what clients said meanwhile".*frames=1`)
	if all := w.wire.refused(); len(all) > 0 {
		t.Errorf("a client was turned away: %v", all)
	}
}

// A datagram that was swallowed is answered when the target is there, where the service allows that.
func TestADatagramIsReplayed(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Targets: []string{"h4"}, Hold: config.HoldDrop, Replay: config.ReplayAll,
		Ports: []config.Port{{Protocol: "udp", Number: lab.ServerPort}},
	}}})
	w.settled(nil, 3)
	w.sleep("h4")
	c, err := w.lab.Client(1).Dial(w.limit(), "udp", webPort())
	w.must(err)
	defer c.Close()
	began := time.Now()
	_, err = c.Write([]byte("once"))
	w.must(err)
	w.must(c.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	w.must(err)
	if string(buf[:n]) != "h4 once" {
		t.Errorf("got %q", buf[:n])
	}
	t.Logf("answered after %v", time.Since(began))
}

// IPv6 is as IPv4.
func TestReplayOverIPv6(t *testing.T) {
	six := netip.MustParseAddr("fd77::200")
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr(), six}, Targets: []string{"h4"}, Hold: config.HoldDrop,
		Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}, {Protocol: "tcp", Number: echoPort}},
	}}})
	w.serveSessions()
	w.settled(nil, 3)
	echo := tls.Client(w.dialTo(netip.AddrPortFrom(six, echoPort)), &tls.Config{InsecureSkipVerify: true}) // as in TestConnectionsSurviveSleep
	w.must(echo.Handshake())
	w.say(echo, []byte("before")) // a client that said the last word is not left behind by a sleep: in a handshake of TLS 1.3 it does
	for range 2 {
		front := w.sleep("h4")
		from := len(w.agentLog(front))
		r, err := w.lab.Client(1).Connect(w.limit(), netip.AddrPortFrom(six, lab.ServerPort))
		w.must(err)
		t.Logf("front %s; connected after %v", front, r.Connected)
		w.logged(front, from, `msg="replayed what clients said meanwhile"`)
		w.awaitServing("h4")
		w.sleep("h4")
		w.say(echo, []byte("over IPv6"))
		w.awaitServing("h4")
	}
}

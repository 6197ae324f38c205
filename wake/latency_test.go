package wake

import (
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkDemandToCall measures from the client's send to the callback, and to the raw magic packet having been handed
// to the kernel, as the front of a sleeping target does it.
func BenchmarkDemandToCall(b *testing.B) {
	var caller *Caller
	type times struct{ seen, called time.Duration }
	done := make(chan times, 1)
	target := []net.HardwareAddr{mac(b, clientMAC)}
	n, _ := front(b, func(Demand) {
		seen := readClock(unix.CLOCK_BOOTTIME)
		if err := caller.Call(target, nil); err != nil {
			b.Error(err)
		}
		done <- times{seen, readClock(unix.CLOCK_BOOTTIME)}
	})
	must(b, n.host.do(func() (err error) {
		if err = addr("eth0", "10.77.0.11/24"); err != nil {
			return err
		}
		caller, err = NewCaller("eth0")
		return err
	}))
	defer caller.Close()
	client := n.client.tap(b, "eth0")
	var seen, called []time.Duration
	for i := 0; b.Loop(); i++ {
		frame := syn(b, 1+i%60000)
		sent := readClock(unix.CLOCK_BOOTTIME)
		send(b, client, frame)
		t := <-done
		seen, called = append(seen, t.seen-sent), append(called, t.called-sent)
	}
	for name, d := range map[string][]time.Duration{"seen": seen, "called": called} {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2].Nanoseconds())/1e3, name+"-p50-us")
		b.ReportMetric(float64(d[len(d)*99/100].Nanoseconds())/1e3, name+"-p99-us")
	}
}

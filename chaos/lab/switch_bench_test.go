package lab_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"nightporter/chaos/lab"
)

// BenchmarkRoundTrip asks a lab server over UDP, one datagram at a time, through each form of the switch. The frames pass
// it twice.
func BenchmarkRoundTrip(b *testing.B) {
	for _, form := range switches {
		b.Run(form, func(b *testing.B) {
			l := up(b, lab.Options{Hosts: 1, NoAgent: true, Switch: form})
			h1 := l.Host("h1")
			conn, err := l.Client(1).Dial(limit(b), "udp", netip.AddrPortFrom(h1.Addr(), lab.ServerPort))
			must(b, err)
			defer conn.Close()
			buf := make([]byte, 100)
			took := make([]time.Duration, 0, b.N)
			for b.Loop() {
				began := time.Now()
				_, err := conn.Write([]byte("ping"))
				must(b, err)
				must(b, conn.SetReadDeadline(began.Add(5*time.Second)))
				_, err = conn.Read(buf)
				must(b, err)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

// BenchmarkStream sends 64 MiB over TCP through each form of the switch.
func BenchmarkStream(b *testing.B) {
	const size = 64 << 20
	for _, form := range switches {
		b.Run(form, func(b *testing.B) {
			l := up(b, lab.Options{Hosts: 1, NoAgent: true, Switch: form})
			b.SetBytes(size)
			for b.Loop() {
				pour(b, l, l.Host("h1").Addr(), size)
			}
		})
	}
}

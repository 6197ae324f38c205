package scenarios

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// scrape asks a host's agent for its metrics, as a program on that host would, and reads them as Prometheus does.
func (w *world) scrape(host string) map[string]*dto.MetricFamily {
	w.Helper()
	ctx := w.limit()
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), config.DefaultHTTPPort)
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.lab.Host(host).Dial(ctx, "tcp", at) }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/metrics", nil)
	w.must(err)
	answer, err := (&http.Client{Transport: tr}).Do(r)
	w.must(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		w.Fatalf("the metrics of %s: %s", host, answer.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(answer.Body)
	w.must(err)
	return all
}

// value adds up the samples of a metric that have these label values: "web", "demand". Of a histogram it is the number of observations.
func value(all map[string]*dto.MetricFamily, name string, labels ...string) (sum float64) {
	for _, m := range all[name].GetMetric() {
		var have []string
		for _, l := range m.GetLabel() {
			have = append(have, l.GetValue())
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(have, l) }) {
			continue
		}
		sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return sum
}

// scraped are the metrics of several hosts.
type scraped map[string]map[string]*dto.MetricFamily

func (s scraped) sum(name string, labels ...string) (sum float64) {
	for _, all := range s {
		sum += value(all, name, labels...)
	}
	return sum
}

// shows waits until all of the hosts' metrics say that holder holds web under the epoch that it has, and nobody else does.
func (w *world) shows(holder string, hosts ...string) (s scraped) {
	w.Helper()
	w.await("the metrics show that "+holder+" holds "+web, func() string {
		s = scraped{}
		for _, h := range hosts {
			s[h] = w.scrape(h)
		}
		_, sv, missing := w.holder(web)
		for _, h := range hosts {
			if v := value(s[h], "nightporter_service_epoch", web); v != float64(sv.Epoch) {
				missing += fmt.Sprintf("; %s has the epoch %v, want %d", h, v, sv.Epoch)
			}
			if value(s[h], "nightporter_service_owner", web, holder) != 1 || value(s[h], "nightporter_service_owner", web) != 1 {
				missing += "; " + h + " names another owner"
			}
		}
		if n := s.sum("nightporter_service_holder", web); n != 1 || value(s[holder], "nightporter_service_holder", web) != 1 {
			missing += fmt.Sprintf("; %v hosts hold it", n)
		}
		return missing
	})
	if left := value(s[holder], "nightporter_service_lease_left_seconds", web); left <= 0 || left != s.sum("nightporter_service_lease_left_seconds", web) {
		w.Errorf("%s has %v s of its lease left, and all together %v", holder, left, s.sum("nightporter_service_lease_left_seconds", web))
	}
	return s
}

// rose wants a counter of the log to have risen on each host by so much.
func (w *world) rose(before, after scraped, by float64, name string, labels ...string) {
	w.Helper()
	for h := range after {
		if a, b := value(before[h], name, labels...), value(after[h], name, labels...); before[h] != nil && b-a != by {
			w.Errorf("%s%v on %s rose from %v to %v, want %v more", name, labels, h, a, b, by)
		}
	}
}

// A sleep, a wake by a client and a move: what the metrics say is what happened, and at each rest exactly one node says that it holds.
func TestTheMetricsTellWhatHappened(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	awake := []string{"h1", "h2", "h3"}
	began := w.shows("h4", "h1", "h2", "h3", "h4")
	if n := began.sum("nightporter_raft_leader"); n != 1 {
		t.Errorf("%v nodes lead", n)
	}
	for h, all := range began {
		for name, want := range map[string]float64{
			"nightporter_build_info": 1, "nightporter_raft_has_leader": 1, "nightporter_quorum_voters": 3, "nightporter_quorum_voters_awake": 3, "nightporter_quorum_voters_needed": 2,
			"nightporter_gossip_members": 4, "nightporter_node_alive": 4, "nightporter_node_power": 4, "nightporter_node_voter": 3, "nightporter_disk_failing": 0, "nightporter_failover_seconds": 1,
		} {
			if got := value(all, name); got != want {
				t.Errorf("%s says %s %v, want %v", h, name, got, want)
			}
		}
		if rss := value(all, "process_resident_memory_bytes"); rss < 5e6 || rss > 500e6 {
			t.Errorf("%s says that it has %v bytes", h, rss)
		}
		if value(all, "nightporter_raft_commit_index") == 0 || value(all, "nightporter_raft_term") == 0 || value(all, "process_start_time_seconds") < 1e9 {
			t.Errorf("%s: %v", h, all)
		}
	}

	front := w.sleep("h4")
	slept := w.shows(front, awake...)
	w.rose(began, slept, 1, "nightporter_service_transitions_total", web, "owner-sleeps")
	w.rose(began, slept, 0, "nightporter_wakes_total")
	for h, all := range slept {
		if value(all, "nightporter_node_power", "h4", "asleep") != 1 || value(all, "nightporter_node_power", "h4", "awake") != 0 {
			t.Errorf("%s does not say that h4 sleeps", h)
		}
	}

	w.connect("c1", "h4")
	w.awaitServing("h4")
	var woken scraped
	w.await("the wake is measured", func() string {
		woken = w.shows("h4", "h1", "h2", "h3", "h4")
		if n := woken.sum("nightporter_wake_phase_seconds", "h4", "served"); n != 1 {
			return fmt.Sprintf("%v wakes were measured", n)
		}
		return ""
	})
	w.rose(slept, woken, 1, "nightporter_wakes_total", "h4", web, "demand")
	w.rose(slept, woken, 1, "nightporter_wakes_total")
	w.rose(slept, woken, 1, "nightporter_service_transitions_total", web, "target-ready")
	if s := value(woken["h1"], "nightporter_node_power_seconds_total", "h4", "asleep"); s <= 0 || s > patience.Seconds() {
		t.Errorf("h4 slept for %v s", s)
	}

	_, err := w.api("h2").Move(w.limit(), web, "h1")
	w.must(err)
	moved := w.shows("h1", "h1", "h2", "h3", "h4")
	w.rose(woken, moved, 1, "nightporter_service_transitions_total", web, "operator-moved")
	w.rose(woken, moved, 1, "nightporter_service_transitions_total")
	// Each change of holder is measured once, by the new one.
	for _, reason := range []string{"owner-sleeps", "target-ready", "operator-moved"} {
		if n := moved.sum("nightporter_blackout_seconds", reason); n != 1 {
			t.Errorf("%v blackouts for %s", n, reason)
		}
	}
	for _, m := range moved["h1"]["nightporter_blackout_seconds"].GetMetric() {
		if h := m.GetHistogram(); strings.Contains(fmt.Sprint(m.GetLabel()), "operator-moved") && (h.GetSampleSum() <= 0 || h.GetSampleSum() > 1) {
			t.Errorf("a move took %v s", h.GetSampleSum())
		}
	}
	w.documented(began, slept, woken, moved)
}

// rare are the metrics that have no samples where nothing of the kind is there: no checks.
var rare = []string{"nightporter_service_target_ready"}

// documented wants what is told to be what docs/metrics.md lists, both ways.
func (w *world) documented(all ...scraped) {
	w.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	w.must(err)
	told, listed := make(map[string]bool), make(map[string]bool)
	for _, s := range all {
		for _, families := range s {
			for name := range families {
				told[name] = true
			}
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = true
		if !told[m[1]] && !slices.Contains(rare, m[1]) {
			w.Errorf("%s is documented, and nobody tells it", m[1])
		}
	}
	for name := range told {
		if !listed[name] {
			w.Errorf("%s is told, and not documented", name)
		}
	}
	if len(listed) < 40 {
		w.Errorf("only %d metrics are documented", len(listed))
	}
}

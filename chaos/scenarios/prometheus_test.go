package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/chaos/lab"
	"nightporter/config"
	"nightporter/internal/testcert"
)

// watcher is a real Prometheus on a client of the lab. It scrapes all hosts with the token and has the shipped rules twice: as they are, and, to see
// them fire, with the word "for" shortened.
type watcher struct {
	*world
	http *http.Client
}

const (
	watcherJob  = "lab"
	rulesFile   = "../../packaging/prometheus/alerts.yaml"
	hastyRules  = "hasty.yaml"
	scrapeEvery = "500ms"
)

var waitsFor = regexp.MustCompile(`(?m)^(\s+for: ).*$`)

// needs ends the test where a program is missing.
func (w *world) needs(programs ...string) {
	w.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			w.Fatalf("this test uses %s: install it (README.md has the packages): %v", p, err)
		}
	}
}

// prometheus starts it on a client. token and ca are files.
func (w *world) prometheus(client, token, ca string) *watcher {
	w.Helper()
	dir := w.TempDir()
	rules, err := os.ReadFile(rulesFile)
	w.must(err)
	shipped, err := filepath.Abs(rulesFile)
	w.must(err)
	hasty := filepath.Join(dir, hastyRules)
	w.must(os.WriteFile(hasty, waitsFor.ReplaceAll(rules, []byte("${1}1s")), 0o644))
	var targets []string
	for _, h := range w.hosts {
		targets = append(targets, fmt.Sprintf("%q", netip.AddrPortFrom(w.lab.Host(h).Addr(), config.DefaultHTTPPort)))
	}
	conf := filepath.Join(dir, "prometheus.yaml")
	w.must(os.WriteFile(conf, fmt.Appendf(nil, `global: {scrape_interval: %s, evaluation_interval: %s}
rule_files: [%q, %q]
scrape_configs:
  - job_name: %s
    scheme: https
    tls_config: {ca_file: %q}
    authorization: {credentials_file: %q}
    static_configs: [{targets: [%s]}]
`, scrapeEvery, scrapeEvery, shipped, hasty, watcherJob, ca, token, strings.Join(targets, ", ")), 0o644))
	if out, err := exec.Command("promtool", "check", "config", conf).CombinedOutput(); err != nil {
		w.Fatalf("%v\n%s", err, out)
	}
	const at = "127.0.0.1:9090"
	log, err := os.Create(filepath.Join(w.lab.Dir(), "prometheus.log"))
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer log.Close()
		_, _ = w.lab.Host(client).Exec(ctx, lab.Stdio{Out: log, Err: log}, "prometheus", "--config.file="+conf, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+at) // it is killed
	}()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return w.lab.Host(client).Dial(ctx, "tcp", netip.MustParseAddrPort(at))
	}}
	w.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		<-ended
	})
	return &watcher{w, &http.Client{Transport: tr}}
}

// get asks Prometheus's API.
func (p *watcher) get(path string, query url.Values, result any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://prometheus/api/v1/"+path+"?"+query.Encode(), nil)
	p.must(err)
	answer, err := p.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var body struct {
		Status, Error string
		Data          json.RawMessage
	}
	text, err := io.ReadAll(answer.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", answer.Status, err)
	case body.Status != "success":
		return errors.New(body.Error)
	}
	return json.Unmarshal(body.Data, result)
}

// alert is one that Prometheus has.
type alert struct {
	State               string
	Labels, Annotations map[string]string
}

// alerts are those of one file of rules, by rule and then by what their summary says. It fails the test when a rule could not be
// evaluated.
func (p *watcher) alerts(file string) (map[string][]alert, error) {
	p.Helper()
	var all struct {
		Groups []struct {
			File  string
			Rules []struct {
				Name, Health, LastError string
				Alerts                  []alert
			}
		}
	}
	if err := p.get("rules", nil, &all); err != nil {
		return nil, err
	}
	out, known := make(map[string][]alert), false
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			if r.LastError == "out of order sample" { // a Prometheus that had no time evaluated it, and could not store that: the next time counts
				return nil, fmt.Errorf("rule %s: %s", r.Name, r.LastError)
			}
			if r.LastError != "" || (r.Health != "ok" && r.Health != "unknown") { // unknown = not yet
				p.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
			if filepath.Base(g.File) == file {
				out[r.Name], known = r.Alerts, known || r.Health == "ok"
			}
		}
	}
	if !known {
		return nil, errors.New("no rule was evaluated")
	}
	return out, nil
}

// raises waits until a rule has exactly these alerts, by what they say, in that state.
func (p *watcher) raises(file, rule, state string, summaries ...string) {
	p.Helper()
	slices.Sort(summaries)
	p.await(fmt.Sprintf("%s of %s is %s", rule, file, state), func() string {
		all, err := p.alerts(file)
		if err != nil {
			return err.Error()
		}
		var have []string
		for _, a := range all[rule] {
			if a.State != state || a.Annotations["runbook"] != "docs/alerts.md#"+strings.ToLower(rule) {
				return fmt.Sprintf("%+v", all[rule])
			}
			have = append(have, a.Annotations["summary"])
		}
		slices.Sort(have)
		if !slices.Equal(have, summaries) {
			return fmt.Sprintf("%q", have)
		}
		return ""
	})
}

// upDown waits until so many hosts are scraped, and so many are not.
func (p *watcher) upDown(up, down int) {
	p.Helper()
	p.await(fmt.Sprintf("%d hosts are scraped and %d are not", up, down), func() string {
		var all struct {
			ActiveTargets []struct{ Health, LastError, ScrapeURL string }
		}
		if err := p.get("targets", nil, &all); err != nil {
			return err.Error()
		}
		n := make(map[string]int)
		for _, t := range all.ActiveTargets {
			n[t.Health]++
		}
		if n["up"] != up || n["down"] != down {
			return fmt.Sprintf("%+v", all)
		}
		return ""
	})
}

// dashboard asks every question of the Grafana dashboard: none is invalid, and each has an answer.
func (p *watcher) dashboard() {
	p.Helper()
	text, err := os.ReadFile("../../packaging/grafana/nightporter.json")
	p.must(err)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	p.must(json.Unmarshal(text, &board))
	fill := strings.NewReplacer("$job", watcherJob, "$__rate_interval", "1m", "$__range", "1m")
	n := 0
	for _, panel := range board.Panels {
		for _, t := range panel.Targets {
			n++
			expr := fill.Replace(t.Expr)
			p.await(panel.Title+" shows something: "+expr, func() string {
				var data struct{ Result []json.RawMessage }
				err := p.get("query", url.Values{"query": {expr}}, &data)
				switch {
				case err != nil && strings.Contains(err.Error(), "parse error"):
					p.Fatalf("%s: %s: %v", panel.Title, expr, err)
				case err != nil:
					return err.Error()
				case len(data.Result) == 0:
					return "no data"
				}
				return ""
			})
		}
	}
	if n < 30 {
		p.Errorf("the dashboard asks only %d questions", n)
	}
}

// ours finds the names of metrics in rules and questions.
var ours = regexp.MustCompile(`\b(?:nightporter|process|go)_[a-z0-9_]+\b`)

// exist wants each metric that a file of the package names to be one that Prometheus has from the agents.
func (p *watcher) exist(files ...string) {
	p.Helper()
	var names []string
	p.must(p.get("label/__name__/values", nil, &names))
	for _, f := range files {
		text, err := os.ReadFile("../../packaging/" + f)
		p.must(err)
		asked := ours.FindAllString(string(text), -1)
		if len(asked) < 20 {
			p.Errorf("%s asks for %d metrics only", f, len(asked))
		}
		for _, name := range asked {
			if !slices.Contains(names, name) {
				p.Errorf("%s asks for %s, which no agent tells", f, name)
			}
		}
	}
}

// A real Prometheus with the shipped rules, over TLS: in a quiet cluster nothing fires, a host that dies is told with the words that docs/alerts.md
// explains, and so is a lost majority; the dashboard's questions all have an answer, and the metrics are as Prometheus wants them.
func TestPrometheusSeesAHostDie(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	const token = "a-token-for-prometheus"
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	const hosts = 4
	var addrs []net.IP
	for k := range hosts {
		addrs = append(addrs, net.IPv4(10, 77, 0, byte(11+k)))
	}
	cert, key := filepath.Join(t.TempDir(), "crt"), filepath.Join(t.TempDir(), "key")
	testcert.Write(t, cert, key, time.Now().Add(time.Hour), addrs...)
	w := build(t, lab.Options{Hosts: hosts, Lines: []string{"http: {listen: lan, token_file: " + file + ", tls_cert_file: " + cert + ", tls_key_file: " + key + "}"}, Services: []config.Service{{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}}, Targets: []string{"h4"},
		Checks: []config.Check{{Kind: "tcp", Port: lab.ServerPort, Interval: 200 * time.Millisecond, Timeout: 200 * time.Millisecond, Rise: 1, Fall: 2}},
	}}})
	w.needs("prometheus", "promtool")
	w.settled(nil, 3)
	p := w.prometheus("c1", file, cert)
	p.upDown(hosts, 0)

	// What there is to see: a sleep, a wake by a client, and the first move of an operator.
	w.sleep("h4")
	p.upDown(hosts-1, 1)
	w.connect("c1", "h4")
	w.awaitServing("h4")
	_, err := w.api("h2").Move(w.limit(), web, "h1")
	w.must(err)
	w.awaitOwner("h1", "holding", "operator-moved")
	p.upDown(hosts, 0)
	p.exist("prometheus/alerts.yaml", "grafana/nightporter.json")
	p.dashboard()
	p.await("the first move is seen", func() string {
		var data struct{ Result []json.RawMessage }
		if err := p.get("query", url.Values{"query": {`sum(increase(nightporter_blackout_seconds_count{reason="operator-moved"}[1m])) > 0`}}, &data); err != nil || len(data.Result) != 1 {
			return fmt.Sprint(err, " no rise")
		}
		return ""
	})
	for _, h := range w.hosts {
		text, err := w.lab.Host("c1").Output(w.limit(), "curl", "-sSf", "--cacert", cert, "-H", "Authorization: Bearer "+token, fmt.Sprintf("https://%s:%d/metrics", w.lab.Host(h).Addr(), config.DefaultHTTPPort))
		w.must(err)
		check := exec.Command("promtool", "check", "metrics")
		check.Stdin = strings.NewReader(text)
		if out, err := check.CombinedOutput(); err != nil {
			w.Errorf("the metrics of %s: %v\n%s", h, err, out)
		}
	}
	p.await("nothing fires", func() string {
		all, err := p.alerts(hastyRules)
		if err != nil {
			return err.Error()
		}
		for rule, list := range all {
			for _, a := range list {
				if a.State == "firing" && a.Labels["severity"] != "info" {
					return fmt.Sprintf("%s: %+v", rule, a)
				}
			}
		}
		return ""
	})

	// One host dies, and then the next: the majority of three.
	_, err = w.lab.Host("h1").Kill(w.limit())
	w.must(err)
	lost := func(h string) string {
		return h + " is gone and does not sleep: it crashed, was stopped, or is cut off."
	}
	p.raises("alerts.yaml", "NightporterNodeLost", "pending", lost("h1"))
	p.raises(hastyRules, "NightporterNodeLost", "firing", lost("h1"))
	p.raises(hastyRules, "NightporterNoHolder", "firing")
	_, err = w.lab.Host("h2").Kill(w.limit())
	w.must(err)
	p.raises(hastyRules, "NightporterQuorumLost", "firing", "Voters that are awake and in touch: 1, fewer than a majority.")
	p.raises(hastyRules, "NightporterNoLeader", "firing", "The cluster has no leader: nothing can be decided.")
	p.raises("alerts.yaml", "NightporterNoLeader", "pending", "The cluster has no leader: nothing can be decided.")
	p.raises(hastyRules, "NightporterNoHolder", "firing", "Nobody holds service web: its clients get no answer and wake nobody.")
}

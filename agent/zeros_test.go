package agent

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"nightporter/fsm"
	"nightporter/metrics"
)

// whatRises finds the series of which a rule asks how they rise.
var whatRises = regexp.MustCompile(`(?:increase|rate)\((nightporter_[a-z_]+_total|nightporter_[a-z_]+_bucket)(?:\{([a-z]+)=~?"([^"]*)"\})?\[`)

// What a rule watches for a rise is there with 0 before the first event, for each label value that the rule names, and rises then.
func TestTheRulesSeeTheFirstEvent(t *testing.T) {
	now := time.Now()
	state := &fsm.State{
		Services: map[string]fsm.Service{"web": {Name: "web", Targets: []string{"b", "on"}}},
		Ledger:   map[string]fsm.NodeLedger{"b": {}, "on": {}},
		Nodes: map[string]fsm.Node{
			"b":  {Name: "b", Policy: fsm.Sleeps, Format: 2, Power: fsm.Awake, PowerSince: now},
			"on": {Name: "on", Policy: fsm.AlwaysOn, Format: 2, Power: fsm.Awake, PowerSince: now},
		},
	}
	f := &figures{counted: make(map[string]uint64), began: now, phases: metrics.NewVec(wakeBounds...), silences: silences{blackouts: metrics.NewVec(silenceBounds...)}}
	look := func() gathered {
		g := gathered{}
		f.zeros(state)
		g.ofLog(f, state, now)
		g["nightporter_blackout_seconds"], g["nightporter_wake_phase_seconds"] = f.silences.blackouts.Samples(), f.phases.Samples()
		g["nightporter_wakes_refused_total"] = f.refused.Samples()
		return g
	}
	g, rules := look(), 0
	for name, expr := range exprs(t) {
		for _, m := range whatRises.FindAllStringSubmatch(expr, -1) {
			metric := strings.TrimSuffix(m[1], "_bucket")
			i := slices.IndexFunc(catalog, func(d metrics.Desc) bool { return d.Name == metric })
			if i < 0 || metric == "nightporter_raft_leader_changes_total" { // that one has no labels, and is always there
				continue
			}
			rules++
			for value := range strings.SplitSeq(m[3], "|") {
				at := slices.Index(catalog[i].Labels, m[2])
				if !slices.ContainsFunc(g[metric], func(s metrics.Sample) bool { return (at < 0 || s.Values[at] == value) && s.Value == 0 }) {
					t.Errorf("%s misses the first event of %s{%s=%q}: %v", name, metric, m[2], value, g[metric])
				}
			}
		}
	}
	if rules < 6 {
		t.Errorf("only %d rules ask for a rise", rules)
	}
	for _, s := range slices.Concat(g["nightporter_wake_phase_seconds"], g["nightporter_wakes_judged_total"]) {
		if s.Values[0] != "b" {
			t.Errorf("a series of the wakes of a host that never sleeps: %v", s.Values)
		}
	}
	state.History = map[string][]fsm.Change{"web": {{Index: 1, At: now, Reason: fsm.OwnerFailed}}}
	f.silences.blackouts.Observe(7*time.Second, string(fsm.OwnerFailed))
	f.refused.Reach(1, "web", overBudget)
	after := look()
	for _, metric := range []string{"nightporter_service_transitions_total", "nightporter_blackout_seconds", "nightporter_wakes_refused_total"} {
		if len(after[metric]) != len(g[metric]) || render(metric, after) == render(metric, g) {
			t.Errorf("%s does not rise in the series that was there: %v, then %v", metric, g[metric], after[metric])
		}
	}
}

func render(metric string, g gathered) string {
	i := slices.IndexFunc(catalog, func(d metrics.Desc) bool { return d.Name == metric })
	return string(metrics.Write([]metrics.Family{{Desc: catalog[i], Samples: g[metric]}}))
}

// exprs are the rules' expressions by their names.
func exprs(t *testing.T) map[string]string {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(file(t, "packaging/prometheus/alerts.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			out[r.Alert] = r.Expr
		}
	}
	return out
}

// The rules' own tests ask for rules and series that there are. Whether they pass is promtool's to say, in packaging.
func TestTheTestsOfTheRules(t *testing.T) {
	var tests struct {
		RuleFiles          []string `yaml:"rule_files"`
		EvaluationInterval string   `yaml:"evaluation_interval"`
		Tests              []struct {
			Name, Interval string
			InputSeries    []struct{ Series, Values string } `yaml:"input_series"`
			AlertRuleTest  []struct {
				EvalTime  string `yaml:"eval_time"`
				Alertname string
				ExpAlerts []struct {
					ExpLabels      map[string]string `yaml:"exp_labels"`
					ExpAnnotations map[string]string `yaml:"exp_annotations"`
				} `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.UnmarshalWithOptions(file(t, "packaging/prometheus/alerts.test.yaml"), &tests, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	rules, values := exprs(t), regexp.MustCompile(`^\d+(\+\d+)?(x\d+)?( \d+(\+\d+)?(x\d+)?)*$`)
	for _, one := range tests.Tests {
		seen := make(map[string]bool)
		for _, s := range one.InputSeries {
			judgeExpr(t, one.Name, s.Series)
			if seen[s.Series] || !values.MatchString(s.Values) {
				t.Errorf("%s: %s is there twice, or has the values %s", one.Name, s.Series, s.Values)
			}
			seen[s.Series] = true
		}
		for _, a := range one.AlertRuleTest {
			if rules[a.Alertname] == "" {
				t.Errorf("%s: there is no rule %s", one.Name, a.Alertname)
			}
			for _, e := range a.ExpAlerts {
				if e.ExpLabels["severity"] == "" || e.ExpAnnotations["summary"] == "" || e.ExpAnnotations["runbook"] != "docs/alerts.md#"+strings.ToLower(a.Alertname) {
					t.Errorf("%s: %s is to give %v %v", one.Name, a.Alertname, e.ExpLabels, e.ExpAnnotations)
				}
			}
		}
	}
	if len(tests.Tests) < 3 {
		t.Errorf("only %d tests", len(tests.Tests))
	}
}

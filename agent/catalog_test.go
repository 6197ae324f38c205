package agent

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"nightporter/metrics"
)

func file(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile("../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// promName is how Prometheus wants names to be, and what a base unit is.
var promName = regexp.MustCompile(`^(nightporter|process|go)_[a-z0-9_]+$`)

func TestTheCatalogIsAsPrometheusWantsIt(t *testing.T) {
	seen := make(map[string]bool)
	for _, d := range catalog {
		if !promName.MatchString(d.Name) || seen[d.Name] {
			t.Errorf("%s is no name, or there twice", d.Name)
		}
		seen[d.Name] = true
		if (d.Kind == metrics.Counter) != strings.HasSuffix(d.Name, "_total") {
			t.Errorf("%s is a %s", d.Name, d.Kind)
		}
		if d.Kind == metrics.Hist && !strings.HasSuffix(d.Name, "_seconds") {
			t.Errorf("%s has no unit", d.Name)
		}
		if !strings.HasSuffix(d.Help, ".") {
			t.Errorf("%s: %q is no sentence", d.Name, d.Help)
		}
		for _, l := range d.Labels {
			if slices.Contains([]string{"le", "job", "instance", "quantile"}, l) {
				t.Errorf("%s has the label %s, which is Prometheus's own", d.Name, l)
			}
		}
	}
}

// docs/metrics.md has a row for each metric, with its type and labels, and no other.
func TestTheCatalogIsDocumented(t *testing.T) {
	rows := make(map[string][]string)
	for line := range strings.Lines(string(file(t, "docs/metrics.md"))) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if name := strings.Trim(cells[0], "`"); promName.MatchString(name) {
			if rows[name] != nil {
				t.Errorf("%s is documented twice", name)
			}
			rows[name] = cells
		}
	}
	for _, d := range catalog {
		row := rows[d.Name]
		if len(row) != 5 || row[1] != string(d.Kind) || row[2] != strings.Join(d.Labels, ", ") || !slices.Contains([]string{"own", "log", "seen"}, row[3]) {
			t.Errorf("%s (%s, %v) is documented as %q", d.Name, d.Kind, d.Labels, row)
		}
		delete(rows, d.Name)
	}
	if len(rows) > 0 {
		t.Errorf("documented and not there: %v", slices.Sorted(maps.Keys(rows)))
	}
}

// named finds the metrics in an expression, and the labels that are asked of them.
var (
	inExpr   = regexp.MustCompile(`\b((?:nightporter|process|go)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	inLabels = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
)

// judgeExpr says what in an expression the endpoint does not have.
func judgeExpr(t *testing.T, where, expr string) {
	t.Helper()
	found := inExpr.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		t.Errorf("%s: no metric of ours in %s", where, expr)
	}
	for _, m := range found {
		name := m[1]
		i := slices.IndexFunc(catalog, func(d metrics.Desc) bool {
			return d.Name == name || (d.Kind == metrics.Hist && (d.Name+"_bucket" == name || d.Name+"_sum" == name || d.Name+"_count" == name))
		})
		if i < 0 {
			t.Errorf("%s: there is no metric %s", where, name)
			continue
		}
		for _, l := range inLabels.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(append([]string{"job", "instance"}, catalog[i].Labels...), l[1]) && (l[1] != "le" || !strings.HasSuffix(name, "_bucket")) {
				t.Errorf("%s: %s has no label %s", where, name, l[1])
			}
		}
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(expr, pair[:1]) != strings.Count(expr, pair[1:]) {
			t.Errorf("%s: unbalanced %s in %s", where, pair, expr)
		}
	}
}

// The alert rules ask for what there is, and docs/alerts.md says of each what to do.
func TestTheAlertRules(t *testing.T) {
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalWithOptions(file(t, "packaging/prometheus/alerts.yaml"), &rules, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	docs := make(map[string]bool)
	for line := range strings.Lines(string(file(t, "docs/alerts.md"))) {
		if name, is := strings.CutPrefix(line, "### "); is {
			docs[strings.TrimSpace(name)] = true
		}
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			judgeExpr(t, r.Alert, r.Expr)
			if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) || r.Annotations["summary"] == "" {
				t.Errorf("%s: %v %v", r.Alert, r.Labels, r.Annotations)
			}
			if want := "docs/alerts.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want || !docs[r.Alert] {
				t.Errorf("%s: its runbook is %q, want %q and a section of that name", r.Alert, r.Annotations["runbook"], want)
			}
			delete(docs, r.Alert)
		}
	}
	if n < 20 || len(docs) > 0 {
		t.Errorf("%d rules; sections without a rule: %v", n, docs)
	}
}

// The dashboard shows every metric at least once, and none that is not there.
func TestTheDashboard(t *testing.T) {
	var board struct {
		Title      string
		Panels     []panel
		Templating struct{ List []struct{ Name string } }
	}
	if err := json.Unmarshal(file(t, "packaging/grafana/nightporter.json"), &board); err != nil {
		t.Fatal(err)
	}
	ids, all := make(map[int]bool), ""
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || (p.Type != "row" && (len(p.Targets) == 0 || p.Description == "")) {
			t.Errorf("panel %d (%s) is there twice, or has no targets or words", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, q := range p.Targets {
			judgeExpr(t, p.Title, q.Expr)
			if !strings.Contains(q.Expr, `job="$job"`) {
				t.Errorf("%s: shows all clusters together: %s", p.Title, q.Expr)
			}
			all += q.Expr + "\n"
		}
	}
	for _, d := range catalog {
		if !strings.Contains(all, d.Name) && !slices.Contains(boring, d.Name) {
			t.Errorf("the dashboard does not show %s", d.Name)
		}
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Targets                  []struct{ Expr string }
}

// boring are metrics that are for questions, not for a dashboard.
var boring = []string{
	"nightporter_service_serving", "nightporter_service_owned", "nightporter_service_owner_since_timestamp_seconds", "nightporter_node_power_since_timestamp_seconds",
	"nightporter_quorum_voters", "nightporter_disk_failing", "process_start_time_seconds",
}

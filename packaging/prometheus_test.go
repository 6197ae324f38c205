package packaging

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// promtool has Prometheus's own tool judge what is shipped for it.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("this test uses promtool, of Debian's package prometheus: install it (README.md has the packages): %v", err)
	}
	cmd := exec.Command(tool, args...)
	cmd.Dir = "prometheus"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

// The rules are what Prometheus reads, and their tests pass. What an agent tells is checked where one runs: testdata/story, and chaos/scenarios.
func TestPrometheusJudgesTheRules(t *testing.T) {
	promtool(t, "check", "rules", "--lint-fatal", "alerts.yaml")
	promtool(t, "test", "rules", "alerts.test.yaml", "alerts.days.test.yaml")
}

// Each rule has a test in which it fires with its words, and one in which it does not.
func TestEachRuleFiresInATest(t *testing.T) {
	read := func(path string) string {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	rules, tests := read("prometheus/alerts.yaml"), read("prometheus/alerts.test.yaml")+read("prometheus/alerts.days.test.yaml")
	names := func(pattern, text string) map[string]bool {
		out := make(map[string]bool)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			out[m[1]] = true
		}
		return out
	}
	fires, quiet := names(`alertname: (\w+)\n\s+exp_alerts:\n`, tests), names(`\{eval_time: \w+, alertname: (\w+)\}`, tests)
	all := names(`- alert: (\w+)\n`, rules)
	if len(all) < 20 {
		t.Errorf("only %d rules", len(all))
	}
	for rule := range all {
		if !fires[rule] {
			t.Errorf("no test has %s fire", rule)
		}
		if !quiet[rule] {
			t.Errorf("no test has %s be quiet", rule)
		}
	}
}

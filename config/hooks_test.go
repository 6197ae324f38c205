package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHooks(t *testing.T) {
	text := "cluster: c\ninterface: eth0\nhooks: {acquire: [up, tell], units: true}\nwebhook: https://192.0.2.9/hook?x=1\nnodes:\n" +
		"  alpha: {address: 192.0.2.1}\n  bravo: {address: 192.0.2.2, hooks: {failed_wake: page, timeout: 2m}}\n"
	for node, want := range map[string]Hooks{
		"alpha": {Acquire: []string{"up", "tell"}, Units: true, Timeout: DefaultHookTimeout},
		"bravo": {FailedWake: []string{"page"}, Timeout: 2 * time.Minute},
	} {
		c, err := Parse("f.yaml", []byte(text), node, nil)
		if err != nil {
			t.Fatal(err)
		}
		if h := c.Hooks; !slices.Equal(h.Acquire, want.Acquire) || !slices.Equal(h.FailedWake, want.FailedWake) || h.Units != want.Units || h.Timeout != want.Timeout {
			t.Errorf("%s: %+v, want %+v", node, h, want)
		}
		if w := c.Webhook; w.URL != "https://192.0.2.9/hook?x=1" || w.Timeout != DefaultWebhookTimeout || w.Events != nil {
			t.Errorf("%s: %+v", node, w)
		}
	}
	off, err := Parse("f.yaml", []byte("cluster: c\nwebhook: off\n"), "alpha", nil)
	if err != nil || off.Webhook.URL != "" || off.Hooks.Timeout != DefaultHookTimeout {
		t.Errorf("%+v, %v", off, err)
	}
}

// Who looks after a host is told what of it is missing there.
func TestHooksThatAreMissing(t *testing.T) {
	text := "cluster: c\ninterface: eth0\nhooks: {release: [down], units: true}\nwebhook: {url: \"http://192.0.2.9/\", token_file: /nowhere/token}\n"
	c, err := Parse("f.yaml", withSecret(t, []byte(text)), "alpha", machine)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(c.Notes, "\n")
	for _, want := range []string{"checks.d/down, which hooks names for release", "no unit nightporter-held@.target", "no file /nowhere/token"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in %q", want, all)
		}
	}
}

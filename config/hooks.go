package config

import (
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Hooks say what a host runs when something has happened: executables in ChecksDir, by name. None of them decides anything.
type Hooks struct {
	Acquire    []string // this host has opened a service's identity
	Release    []string // and closed it again
	Wake       []string // a host is back from its sleep; by the host that leads
	Asleep     []string // a host has gone to sleep; by the host that leads
	FailedWake []string // a host was called in vain; by the host that leads
	Units      bool     // nightporter-held@SERVICE.target runs while this host holds the service's identity
	Timeout    time.Duration
}

// Webhook says where events are posted to. The host that leads does it.
type Webhook struct {
	URL       string   // "" = nowhere
	TokenFile string   // of a bearer token; "" = none
	Events    []string // kinds; nil = all
	Timeout   time.Duration
}

// Defaults and ranges of both.
const (
	DefaultHookTimeout    = 30 * time.Second
	hookTimeoutMin        = 100 * time.Millisecond
	hookTimeoutMax        = 10 * time.Minute
	DefaultWebhookTimeout = 10 * time.Second
	webhookTimeoutMax     = time.Minute
	maxHooks              = 16
	webhookURLLimit       = 2048
	hookTargetUnit        = "nightporter-held@.target"
	unitDirs              = "/etc/systemd/system:/run/systemd/system:/usr/local/lib/systemd/system:/usr/lib/systemd/system:/lib/systemd/system"
)

var eventKinds = []string{"cluster", "owner", "power", "wake", "fitness", "member", "voters", "service", "setting"}

// EventKinds are the kinds of events that the log tells of, and that a webhook can be limited to.
func EventKinds() []string { return slices.Clone(eventKinds) }

// hooks reads the mapping.
func (r *reader) hooks(n ast.Node) value[Hooks] {
	h, before := Hooks{Timeout: DefaultHookTimeout}, len(r.problems)
	names := func(to *[]string) func(place, ast.Node) {
		return func(at place, n ast.Node) {
			r.list(n, func(e ast.Node) {
				if name := r.execName(e); name != "" {
					*to = append(*to, name)
				}
			})
			if len(*to) > maxHooks {
				r.problem(at, "%d hooks are more than the %d that are run one after the other; let one of them run the others", len(*to), maxHooks)
			}
		}
	}
	r.mapping(n, "hooks", fields{
		"acquire": names(&h.Acquire), "release": names(&h.Release), "wake": names(&h.Wake), "asleep": names(&h.Asleep), "failed_wake": names(&h.FailedWake),
		"units":   func(_ place, n ast.Node) { h.Units = r.yes(n).v },
		"timeout": func(_ place, n ast.Node) { h.Timeout = r.duration(n, hookTimeoutMin, hookTimeoutMax).or(h.Timeout) },
	})
	return value[Hooks]{h, placeOf(n), len(r.problems) == before}
}

// webhook reads the mapping, or an address alone.
func (r *reader) webhook(n ast.Node) value[Webhook] {
	w, before := Webhook{Timeout: DefaultWebhookTimeout}, len(r.problems)
	at := placeOf(n)
	if _, mapping := r.plain(n).(ast.MapNode); !mapping {
		if word := scalar(r.plain(n)); word == "off" || word == "false" {
			return value[Webhook]{Webhook{}, at, true}
		}
		w.URL = r.webhookURL(n)
	} else {
		r.mapping(n, "webhook", fields{
			"url":        func(_ place, n ast.Node) { w.URL = r.webhookURL(n) },
			"token_file": func(_ place, n ast.Node) { w.TokenFile = r.path(n).v },
			"events":     func(_ place, n ast.Node) { w.Events = r.eventKinds(n) },
			"timeout":    func(_ place, n ast.Node) { w.Timeout = r.duration(n, hookTimeoutMin, webhookTimeoutMax).or(w.Timeout) },
		})
		if w.URL == "" && len(r.problems) == before {
			r.problem(at, "webhook has no url; write it like {url: \"https://192.0.2.9/hook\"}, or off")
		}
	}
	return value[Webhook]{w, at, len(r.problems) == before}
}

func (r *reader) eventKinds(n ast.Node) (out []string) {
	r.list(n, func(e ast.Node) {
		v := r.text(e, "a kind of event")
		switch {
		case !v.set:
		case !slices.Contains(eventKinds, v.v):
			r.problem(v.at, "%q is no kind of event; %s", v.v, hint(v.v, eventKinds, "the kinds are "))
		default:
			out = append(out, v.v)
		}
	})
	return out
}

func (r *reader) webhookURL(n ast.Node) string {
	v := r.text(n, "an address like https://192.0.2.9/hook")
	if !v.set {
		return ""
	}
	if why := badWebhook(v.v); why != nil {
		r.problem(v.at, "this is no address for events: %s; write one like https://192.0.2.9/hook", why)
		r.problems[len(r.problems)-1].Source = "" // it may hold a password, and this gets into logs
		return ""
	}
	return v.v
}

func badWebhook(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("it cannot be read")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("it begins with neither http:// nor https://")
	case u.Hostname() == "":
		return errors.New("it names no host")
	case u.User != nil:
		return errors.New("a password does not belong here, where everybody sees it; put a token into a file and name that as token_file")
	case u.Fragment != "" || len(s) > webhookURLLimit:
		return errors.New("it has a fragment, or is longer than 2048 bytes")
	}
	return nil
}

// hookNotes tells of hooks that this host cannot run.
func hookNotes(c *Config, m *Machine) []string {
	var notes []string
	for _, one := range []struct {
		of    string
		names []string
	}{{"acquire", c.Hooks.Acquire}, {"release", c.Hooks.Release}, {"wake", c.Hooks.Wake}, {"asleep", c.Hooks.Asleep}, {"failed_wake", c.Hooks.FailedWake}} {
		for _, name := range one.names {
			if path := filepath.Join(c.ChecksDir, name); !m.HasFile(path) {
				notes = append(notes, "this host has no executable "+path+", which hooks names for "+one.of+": it is not run here")
			}
		}
	}
	if c.Hooks.Units && !hasHookTarget(m) {
		notes = append(notes, "this host has no unit "+hookTargetUnit+", which `hooks: {units: true}` starts: install the package again, or write one")
	}
	if c.Webhook.TokenFile != "" && !m.HasFile(c.Webhook.TokenFile) {
		notes = append(notes, "there is no file "+c.Webhook.TokenFile+" with the token of the webhook: events are not posted from here")
	}
	if c.Webhook.TokenFile != "" && strings.HasPrefix(c.Webhook.URL, "http:") {
		notes = append(notes, "the webhook's token goes over the network in clear text, since its address begins with http://")
	}
	return notes
}

func hasHookTarget(m *Machine) bool {
	for dir := range strings.SplitSeq(unitDirs, ":") {
		if m.HasFile(filepath.Join(dir, hookTargetUnit)) {
			return true
		}
	}
	return false
}

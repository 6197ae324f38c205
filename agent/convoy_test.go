package agent

import (
	"slices"
	"testing"
)

// Services go together to one host, each waits for no other one, and one that is not handed over after all holds nobody up.
func TestConvoy(t *testing.T) {
	c := newConvoy()
	var told []string
	join := func(service, heir string, ready bool) bool {
		return c.join(service, heir, ready, func() { told = append(told, service) })
	}
	wants := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: waits %v, want %v", what, got, want)
		}
	}
	wants("a alone, not prepared", join("a", "h2", false), true)
	wants("b, not prepared", join("b", "h2", false), true)
	wants("a prepared, b not", join("a", "h2", true), true)
	wants("c to another host", join("c", "h3", true), false)
	if slices.Contains(told, "a") {
		t.Errorf("told too early: %v", told)
	}
	wants("both prepared", join("b", "h2", true), false)
	if !slices.Contains(told, "a") {
		t.Errorf("a was not told: %v", told)
	}
	wants("a again", join("a", "h2", true), false)
	c.leave("a")
	c.leave("b")
	told = nil
	wants("d prepared", join("d", "h2", true), false)
	wants("e not", join("e", "h2", false), true)
	wants("d waits for e", join("d", "h2", true), true)
	c.leave("e") // it went by itself
	if !slices.Contains(told, "d") {
		t.Errorf("d was not told that e left: %v", told)
	}
	wants("d alone", join("d", "h2", true), false)
}

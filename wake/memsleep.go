package wake

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// powerDir is where Linux tells how it can sleep, and is told how (Documentation/admin-guide/pm/sleep-states.rst).
const powerDir = "/sys/power"

// The words of /sys/power/mem_sleep that are chosen between here.
const (
	S2idle = "s2idle" // suspend-to-idle: the processors rest in their deepest idle state
	Deep   = "deep"   // suspend-to-RAM (ACPI S3)
)

// MemSleep chooses what "suspend" means to the kernel, and puts back what was chosen before. Not safe for concurrent use.
type MemSleep struct {
	Dir string // "" = /sys/power

	former, chosen string // chosen "" = nothing to put back
}

func (m *MemSleep) path() string { return filepath.Join(orPowerDir(m.Dir), "mem_sleep") }

func orPowerDir(dir string) string {
	if dir == "" {
		return powerDir
	}
	return dir
}

// Choose selects one of the words that the kernel offers. The error is one sentence, and then nothing was changed.
func (m *MemSleep) Choose(word string) error {
	text, err := os.ReadFile(m.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading which suspend the kernel is to choose: %w", err)
	}
	if why := lacks(word, string(text)); why != "" {
		return errors.New(why)
	}
	_, now := choices(string(text))
	if now == word {
		return nil
	}
	if err := os.WriteFile(m.path(), []byte(word), 0o644); err != nil {
		return fmt.Errorf("having the kernel choose %s for its suspend: %w", word, err)
	}
	if m.chosen == "" { // else an earlier sleep's choice was not put back
		m.former = now
	}
	m.chosen = word
	return nil
}

// Restore puts back what was chosen before Choose, unless somebody has chosen otherwise meanwhile.
func (m *MemSleep) Restore() error {
	if m.chosen == "" {
		return nil
	}
	chosen, former := m.chosen, m.former
	m.chosen, m.former = "", ""
	text, err := os.ReadFile(m.path())
	if err != nil {
		return fmt.Errorf("reading which suspend the kernel chooses: %w", err)
	}
	if _, now := choices(string(text)); now != chosen || former == "" {
		return nil
	}
	if err := os.WriteFile(m.path(), []byte(former), 0o644); err != nil {
		return fmt.Errorf("having the kernel choose %s for its suspend again: %w", former, err)
	}
	return nil
}

// choices reads a file of sysfs such as "s2idle [deep]": the words, and the one that is chosen, "" = none.
func choices(text string) (all []string, chosen string) {
	for _, w := range strings.Fields(text) {
		if inner, ok := strings.CutPrefix(w, "["); ok {
			w = strings.TrimSuffix(inner, "]")
			chosen = w
		}
		all = append(all, w)
	}
	return all, chosen
}

// lacks says why a word cannot be chosen in mem_sleep, or "".
func lacks(word, memSleep string) string {
	all, _ := choices(memSleep)
	switch {
	case slices.Contains(all, word):
		return ""
	case len(all) == 0:
		return "the kernel offers no choice of suspends (/sys/power/mem_sleep), so not " + word + " either; write `suspend: suspend` to take what it has"
	}
	return fmt.Sprintf("the kernel does not offer the suspend %s, only %s (/sys/power/mem_sleep); write one of these, or `suspend: suspend`", word, strings.Join(all, " and "))
}

// CanSleep says whether the kernel can carry out a kind of sleep: suspend, s2idle, deep, or one of those that write to the disk:
// hibernate, hybrid-sleep, suspend-then-hibernate. The error is one sentence. Whether there is swap enough is not looked at.
func CanSleep(kind string) error { return canSleep(powerDir, kind) }

func canSleep(dir, kind string) error {
	var text [2]string
	for i, name := range []string{"state", "mem_sleep"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading how the kernel can sleep: %w", err)
		}
		text[i] = string(raw)
	}
	if why := cannot(kind, text[0], text[1]); why != "" {
		return errors.New(why)
	}
	return nil
}

// cannot says why a kernel with these files cannot carry out a kind of sleep, or "".
func cannot(kind, state, memSleep string) string {
	states, _ := choices(state)
	had := "nothing"
	if len(states) > 0 {
		had = strings.Join(states, ", ")
	}
	suspends := slices.ContainsFunc(states, func(s string) bool { return s == "mem" || s == "standby" || s == "freeze" })
	hibernates := slices.Contains(states, "disk")
	switch {
	case kind != "hibernate" && !suspends:
		return "the kernel cannot suspend this machine (it offers " + had + " in /sys/power/state)"
	case !slices.Contains([]string{"suspend", S2idle, Deep}, kind) && !hibernates:
		return "the kernel cannot hibernate this machine (it offers " + had + " in /sys/power/state)"
	case kind == S2idle || kind == Deep:
		return lacks(kind, memSleep)
	}
	return ""
}

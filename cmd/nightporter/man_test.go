package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nightporter/config"
)

// Each command that help lists has its page, with all of its flags, and so has the file.
func TestTheManualHasEveryCommandAndFlag(t *testing.T) {
	root := newRoot(&shell{getenv: func(string) string { return "" }})
	strict(root)
	pages := manual{version: "v0.2"}.pages(root)
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Hidden {
			return
		}
		text := pages["man1/"+pageName(cmd)+".1"]
		if !strings.Contains(text, ".SH DESCRIPTION\n") || !strings.Contains(text, ".B "+escaped(cmd.CommandPath())) {
			t.Errorf("%s has no page, or one without its use", cmd.CommandPath())
		}
		cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(text, escaped("--"+f.Name)) {
				t.Errorf("the page of %s has no --%s", cmd.CommandPath(), f.Name)
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if len(pages) < 30 {
		t.Errorf("the manual has %d pages", len(pages))
	}
	for path, text := range pages {
		before := ""
		for line := range strings.Lines(text) {
			if line == ".PP\n" && (strings.HasPrefix(before, ".SH") || before == line) {
				t.Errorf("%s has a paragraph with nothing in it after %q", path, before)
			}
			before = line
			if strings.HasPrefix(line, ".") && !slices.Contains([]string{`.\"`, ".TH", ".nh", ".ad", ".SH", ".B", ".PP", ".TP", ".nf", ".fi"}, strings.Fields(line)[0]) || strings.HasPrefix(line, "'") {
				t.Errorf("%s has a line that groff takes for a request: %q", path, line)
			}
		}
	}
}

// In nightporter.yaml(5) no word of the example is lost or moved, and no line is too wide that has words to break at.
func TestTheExampleIsMadeNarrow(t *testing.T) {
	words := func(s string) (out []string) {
		for w := range strings.FieldsSeq(s) {
			if w != "#" {
				out = append(out, w)
			}
		}
		return out
	}
	got := narrow(config.Example(), manWidth)
	if !slices.Equal(words(got), words(config.Example())) {
		t.Errorf("the words are others:\n%s", got)
	}
	for line := range strings.Lines(got) {
		if line = strings.TrimRight(line, "\n"); len(line) > manWidth && !strings.ContainsAny(line, "{[") {
			t.Errorf("too wide: %s", line)
		}
	}
	if _, err := config.Parse("example", []byte(got), "delta", nil); err != nil {
		t.Errorf("it is no configuration any more: %v", err)
	}
}

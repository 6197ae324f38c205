package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// said are the commands in a page: lines of code that begin with one, behind a prompt, sudo, ssh or a pipe, and code in sentences. Words that stand for
// something (NAME) are words; what is behind a comment's # or in a following command is not its own.
var said = regexp.MustCompile("(?:^|[`|&;] *|[#$] +|sudo +|ssh +[a-z@.]+ +)nightporter((?: +[^ `|&;#\n]+)*)")

// pagesOf are the pages for people, by their paths from the root of the tree.
func pagesOf(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, glob := range []string{"README.md", "docs/*.md", "chaos/README.md", "lease/*.md", "fsm/*.md", "identity/*.md"} {
		paths, err := filepath.Glob("../../" + glob)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no pages at %s: %v", glob, err)
		}
		for _, p := range paths {
			body, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			out[strings.TrimPrefix(filepath.ToSlash(p), "../../")] = string(body)
		}
	}
	return out
}

// What the pages tell people to type can be typed: there is such a command, and it has such flags.
func TestThePagesNameCommandsThatThereAre(t *testing.T) {
	root := newRoot(&shell{getenv: func(string) string { return "" }})
	strict(root)
	root.InitDefaultCompletionCmd()
	seen := map[string]int{}
	for path, text := range pagesOf(t) {
		for n, line := range strings.Split(text, "\n") {
			for _, m := range said.FindAllStringSubmatch(line, -1) {
				words := strings.Fields(m[1])
				if len(words) == 0 {
					continue
				}
				cmd, complaint := typed(root, words)
				if complaint != "" {
					t.Errorf("%s:%d: `nightporter %s`: %s", path, n+1, strings.Join(words, " "), complaint)
				}
				if cmd != nil {
					seen[cmd.CommandPath()]++
				}
			}
		}
	}
	if len(seen) < 30 || seen["nightporter status"] < 5 || seen["nightporter setup"] < 5 {
		t.Errorf("only these commands were found in the pages: %v", seen)
	}
}

// typed finds the command that the words name, and what is wrong with them.
func typed(root *cobra.Command, words []string) (cmd *cobra.Command, complaint string) {
	cmd = root
	for i, w := range words {
		if name, is := strings.CutPrefix(w, "--"); is {
			name, _, _ = strings.Cut(strings.TrimRight(name, ",.:)]"), "=")
			if name != "" && name != "help" && cmd.Flag(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
				return cmd, "there is no --" + name
			}
			continue
		}
		if letters, is := strings.CutPrefix(w, "-"); is {
			if letters != "" && letters != "h" && cmd.Flags().ShorthandLookup(letters[:1]) == nil && cmd.InheritedFlags().ShorthandLookup(letters[:1]) == nil {
				return cmd, "there is no -" + letters
			}
			continue
		}
		at := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == w })
		switch {
		case at >= 0:
			cmd = cmd.Commands()[at]
		case i == 0 && w != "help":
			return nil, "there is no such command"
		}
	}
	return cmd, ""
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	code    = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
)

// anchorOf is what a heading is called in links.
func anchorOf(h string) string {
	h = strings.ToLower(strings.NewReplacer("`", "", "*", "").Replace(h))
	h = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(h, "")
	return strings.ReplaceAll(h, " ", "-")
}

// Links between the pages lead to something.
func TestThePagesLeadSomewhere(t *testing.T) {
	pages, links := pagesOf(t), 0
	for path, text := range pages {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			to := path
			if file != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(path), file))
			}
			if _, err := os.Stat("../../" + to); err != nil {
				t.Errorf("%s: the link %s leads nowhere", path, m[1])
				continue
			}
			if anchor == "" || filepath.Ext(to) != ".md" {
				continue
			}
			body, err := os.ReadFile("../../" + to)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(heading.FindAllStringSubmatch(string(body), -1), func(h []string) bool { return anchorOf(h[1]) == anchor }) {
				t.Errorf("%s: %s has no heading for the link %s", path, to, m[1])
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links were found", links)
	}
}

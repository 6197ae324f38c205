package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"nightporter/config"
)

// manVerb writes the manual for whoever installs or packages; it is not among the verbs that help lists.
func manVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages into DIR/man1 and DIR/man5",
		Long:    "Write the manual pages into DIR/man1 and DIR/man5: one for each command, and nightporter.yaml(5).",
		Example: `  nightporter man /usr/local/share/man`,
		Args:    takes(1, 1, "name the DIR to write to"),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			m := manual{version: sh.version}
			for path, text := range m.pages(cmd.Root()) {
				file := filepath.Join(args[0], path)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					return fmt.Errorf("write the manual: %w", err)
				}
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					return fmt.Errorf("write the manual: %w", err)
				}
			}
			return nil
		},
	}
}

// manual makes the pages out of what the help and the example say, so that there is one text of each.
type manual struct{ version string }

// pages gives them by file name.
func (m manual) pages(root *cobra.Command) map[string]string {
	all := map[string]string{"man5/nightporter.yaml.5": m.file()}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" {
			return
		}
		all["man1/"+pageName(cmd)+".1"] = m.command(cmd)
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return all
}

// pageName is nightporter-config-check for `nightporter config check`.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func (m manual) command(cmd *cobra.Command) string {
	r := roff{}
	r.title(strings.ToUpper(pageName(cmd)), "1", m.version)
	r.section("NAME")
	r.text(pageName(cmd) + " - " + lowerFirst(cmd.Short))
	r.section("SYNOPSIS")
	r.bold(cmd.UseLine())
	r.section("DESCRIPTION")
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	r.text(long)
	if subs := cmd.Commands(); cmd.HasAvailableSubCommands() {
		r.section("COMMANDS")
		for _, sub := range subs {
			if sub.IsAvailableCommand() {
				r.item(fmt.Sprintf("%s(1)", pageName(sub)), sub.Short+".")
			}
		}
	}
	if flags := cmd.NonInheritedFlags(); flags.HasAvailableFlags() {
		r.section("OPTIONS")
		r.flags(flags)
	}
	if flags := cmd.InheritedFlags(); flags.HasAvailableFlags() {
		r.section("OPTIONS OF ALL COMMANDS")
		r.flags(flags)
	}
	if cmd.Example != "" {
		r.section("EXAMPLES")
		r.verbatim(cmd.Example)
	}
	also := []string{"nightporter.yaml(5)"}
	if !cmd.HasParent() {
		m.places(&r)
	} else {
		also = append(also, pageName(cmd.Parent())+"(1)")
	}
	r.section("SEE ALSO")
	r.text(strings.Join(also, ", "))
	return r.String()
}

// places is what the overview has besides.
func (m manual) places(r *roff) {
	r.section("EXIT STATUS")
	for _, e := range [][2]string{
		{"0", "Done."},
		{"1", "Tried and failed, or refused."},
		{"2", "The command line makes no sense."},
		{"3", "The daemon of this host cannot be reached."},
		{"4", "Nobody can decide now (no leader, no answer in time): try again later."},
	} {
		r.item(e[0], e[1])
	}
	r.section("ENVIRONMENT")
	r.item("NIGHTPORTER_SOCKET", "The daemon's admin socket, where --socket does not name one.")
	r.section("FILES")
	for _, f := range [][2]string{
		{config.DefaultPath, "The configuration, the same on every host: see nightporter.yaml(5)."},
		{config.DefaultSecretFile, "The cluster's secret, mode 0600."},
		{config.DefaultChecksDir, "Executables for checks and hooks: root's, writable by nobody else."},
		{config.DefaultDataDir, "The Raft log, this host's key, remembered peers."},
		{config.DefaultRunDir, "The admin socket, the lock, the voter's lease table; on a tmpfs."},
	} {
		r.item(f[0], f[1])
	}
}

// file is nightporter.yaml(5): the rules, and the example, which has every key (a test of package config says so).
func (m manual) file() string {
	r := roff{}
	r.title("NIGHTPORTER.YAML", "5", m.version)
	r.section("NAME")
	r.text("nightporter.yaml - the configuration of a nightporter cluster")
	r.section("DESCRIPTION")
	r.text(`The file is the same on every host of the cluster: what differs between hosts stands under nodes, by host name, and goes before the top level. It is YAML and it is read strictly: a key that does not exist, stands twice or has a value out of range is refused, with file, line, column and what to write instead, and all that is wrong is told in one go.

The agent reads it at its start and at "systemctl reload nightporter". Services and failover are only the values with which a new cluster is founded; later they are changed with nightporter-apply(1) and nightporter-set(1).

"nightporter setup" writes such a file, "nightporter config check" tests one, and "nightporter config example" prints the one below.`)
	r.section("KEYS")
	r.text("Every key, with its default where it stands behind a # as an example of itself:")
	r.verbatim(narrow(config.Example(), manWidth))
	r.section("FILES")
	r.item(config.DefaultPath, "Where the agent looks for it without --config.")
	r.section("SEE ALSO")
	r.text("nightporter(1), nightporter-setup(1), nightporter-config-check(1)")
	return r.String()
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

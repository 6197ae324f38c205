package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/config"
)

func configVerb(sh *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Test a configuration file, or print an example",
		Args:  cobra.NoArgs,
		RunE:  showHelp,
	}
	cmd.AddCommand(configCheckVerb(sh), &cobra.Command{
		Use:   "example",
		Short: "Print a commented configuration file to start from",
		Args:  takesNone,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(sh.out, config.Example())
			return err
		},
	})
	return cmd
}

// checked is the answer of `config check`.
type checked struct {
	File     string           `json:"file"`
	Node     string           `json:"node"`
	OK       bool             `json:"ok"`
	Problems []config.Problem `json:"problems"`
	Notes    []string         `json:"notes"`
	Digest   string           `json:"digest"`
}

func configCheckVerb(sh *shell) *cobra.Command {
	var node string
	var alone bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Test a configuration file and tell everything that is wrong with it",
		Long: `Test a configuration file as this host (or the one that --node names) sees it. Everything that is
wrong is told in one go, each with file:line:column and what to write instead. The host's
interface and secret file are looked at too, and whether it can sleep as it is to, unless --offline says that this is another machine.`,
		Example: `  nightporter config check
  nightporter config check --offline --node delta ./nightporter.yaml`,
		Args: takes(0, 1, "name one FILE at most"),
		RunE: func(_ *cobra.Command, args []string) error {
			path := config.DefaultPath
			if len(args) == 1 {
				path = args[0]
			}
			return sh.check(path, node, alone)
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "the host whose view is tested (default: this host's name)")
	cmd.Flags().BoolVar(&alone, "offline", false, "test the file alone, not this host's interface and secret file")
	return cmd
}

// check tests one file and prints what was found; problems are an error as well.
func (sh *shell) check(path, node string, alone bool) error {
	if sh.machine != nil && sh.machine.Sleeps == nil { // an agent finds this out as well, and waits for nothing at its start
		m := *sh.machine
		m.Sleeps = agent.CannotSleep
		sh.machine = &m
	}
	cfg, err := sh.readConfig(path, node, alone)
	found, isProblems := errors.AsType[*config.Problems](err)
	if err != nil && !isProblems {
		return err
	}
	result := checked{File: path, Node: node, OK: err == nil, Problems: []config.Problem{}, Notes: []string{}}
	if isProblems {
		result.Problems = found.List
	} else {
		result.Node, result.Digest = cfg.Node, cfg.Digest
		result.Notes = append(result.Notes, cfg.Notes...)
	}
	shown := sh.show(result, func(p *page) {
		for _, q := range result.Problems {
			p.lines(q.String())
		}
		for _, n := range result.Notes {
			p.line("note: %s", n)
		}
		if result.OK {
			p.line("%s is fine for node %s", path, result.Node)
		}
	})
	if isProblems {
		return errors.Join(shown, fmt.Errorf("%s has %s", path, count(len(found.List), "problem")))
	}
	return shown
}

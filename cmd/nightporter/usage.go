package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// takes wants low to high arguments, and says else what to name.
func takes(low, high int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch n := len(args); {
		case n == 0 && low > 0:
			return errors.New(what)
		case n < low || n > high:
			return fmt.Errorf("%s; the command line has %s", what, count(n, "argument"))
		}
		return nil
	}
}

// showHelp is what a verb does that has only verbs beneath it, so that its Args get to judge a word that is none of them.
func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// readableFlags says what to write instead where a flag makes no sense. The kinds of errors are told by their methods.
func readableFlags(cmd *cobra.Command, err error) error {
	var specified interface {
		GetSpecifiedName() string
		GetSpecifiedShortnames() string
	}
	if strings.HasPrefix(err.Error(), "unknown") && errors.As(err, &specified) {
		if group := specified.GetSpecifiedShortnames(); group != "" {
			return fmt.Errorf(`there is no flag -%s (in -%s); where no flag is meant, write -- before it`, specified.GetSpecifiedName(), group)
		}
		return fmt.Errorf("there is no flag --%s", specified.GetSpecifiedName())
	}
	var invalid interface{ GetValue() string }
	if !errors.As(err, &invalid) {
		return err
	}
	// invalid argument "x" for "-n, --name" flag: ...
	_, name, _ := strings.Cut(strings.TrimPrefix(err.Error(), fmt.Sprintf("invalid argument %q for ", invalid.GetValue())), "--")
	name, _, _ = strings.Cut(name, `"`)
	flag := cmd.Flag(name)
	if flag == nil {
		return err
	}
	forms := map[string]string{
		"int": "a whole number", "uint64": "a whole number from 0 on", "intSlice": "whole numbers, like 3,4", "duration": "a time, like 30s or 300ms", "bool": "true or false",
	}
	form, ok := forms[flag.Value.Type()]
	if !ok {
		return err
	}
	return fmt.Errorf("--%s is %q; write %s", name, invalid.GetValue(), form)
}

// strict makes the verbs that cobra adds refuse a word that they do not know, as all others do.
func strict(root *cobra.Command) {
	root.SetFlagErrorFunc(readableFlags)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			cmd.RunE = showHelp
		case "help":
			cmd.Run, cmd.RunE = nil, helpFor
		}
	}
}

// helpFor is `help VERB`.
func helpFor(cmd *cobra.Command, args []string) error {
	topic, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return usageError{fmt.Errorf("there is no help about %q; see `nightporter --help`", strings.Join(args, " "))}
	}
	return topic.Help()
}

// takesNone is for verbs without arguments.
func takesNone(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("`%s` takes no arguments; the command line has %q", cmd.CommandPath(), args[0])
	}
	return nil
}

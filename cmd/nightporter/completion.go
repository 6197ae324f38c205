package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
)

// named says which names a verb's arguments are, in their order; the last one goes for all further ones.
var named = map[string][]string{
	"why": {"service|node"}, "history": {"service|node"}, "wakes": {"service|node"}, "get": {"service"}, "delete": {"service"},
	"move": {"service", "node"}, "sleep": {"node"}, "wake": {"node"}, "canary": {"node"}, "forget": {"node"},
}

// most is how many arguments are completed.
var most = map[string]int{"move": 2, "get": 100}

// completionPatience is how long a shell waits for the daemon when somebody presses the tab key.
const completionPatience = time.Second

// completeNames has the shell's completion offer the names that the daemon knows. Without a daemon it offers none.
func completeNames(sh *shell, root *cobra.Command) {
	for _, cmd := range root.Commands() {
		kinds, ok := named[cmd.Name()]
		if ok && cmd.ValidArgsFunction == nil {
			limit := max(most[cmd.Name()], 1)
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
				if len(args) >= limit {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return sh.offer(cmd, kinds[min(len(args), len(kinds)-1)], begun), cobra.ShellCompDirectiveNoFileComp
			}
		}
		for _, kind := range []string{"service", "node"} {
			if cmd.Name() == "events" {
				// The flag is there: this fails for nothing else.
				_ = cmd.RegisterFlagCompletionFunc(kind, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
					return sh.offer(cmd, kind, begun), cobra.ShellCompDirectiveNoFileComp
				})
			}
		}
	}
}

// offer gives the names of a kind that begin as somebody began.
func (sh *shell) offer(cmd *cobra.Command, kind, begun string) (out []string) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	c := api.NewClient(sh.socket)
	if strings.Contains(kind, "service") {
		services, err := c.Services(ctx)
		if err != nil {
			return nil
		}
		for _, s := range services {
			out = append(out, s.Name)
		}
	}
	if strings.Contains(kind, "node") {
		nodes, err := c.Members(ctx)
		if err != nil {
			return nil
		}
		for _, n := range nodes {
			out = append(out, n.Name)
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return !strings.HasPrefix(s, begun) })
}

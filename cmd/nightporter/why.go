package main

import (
	"context"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func whyVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "why SERVICE|NODE",
		Short: "Tell why a service or a host is as it is, and what would change it",
		Long: `Of a service: who has it since when and why, which hosts could have it in the order of the plan's preference and what keeps
each of them from it, whose demand wakes whom, and the rules that would change it.

Of a host: why it is awake, and when it goes to sleep by itself; of one that sleeps, since when and why, and what wakes it.
Any host can be asked about any other. A reason of the kind "use" says that somebody needs the host: it goes
to sleep when the last of these has been over for the time that its configuration gives (idle). One of the
kind "hold" keeps it awake for as long as it is there. What counts is said by stay_awake in the configuration.

Each rule names the key of the configuration or of the service's definition, or the command, that it rests on. Where a
service and a host have the same name, write service/NAME or node/NAME.`,
		Example: `  nightporter why web
  nightporter why delta
  nightporter why delta -o json | jq -r '.reasons[] | .name + ": " + .sentence'`,
		Args: takes(1, 1, "name one SERVICE or NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				e, err := c.Explain(ctx, args[0])
				switch {
				case err != nil:
					return err
				case e.Service != nil:
					return sh.show(e.Service, func(p *page) { drawServiceWhy(p, *e.Service) })
				case e.Node != nil:
					return sh.show(e.Node, func(p *page) { drawWhy(p, *e.Node) })
				}
				return &api.Error{Code: api.CodeVersion, Message: "the daemon's answer makes no sense", Hint: "compare `nightporter version`"}
			})
		},
	}
}

func drawServiceWhy(p *page, w api.ServiceWhy) {
	p.line("%s", w.Summary)
	if w.By != "" {
		p.line("decided by %s (%s); epoch %d", w.By, w.Reason, w.Epoch)
	}
	if w.OwnerState == "silent" || w.OwnerState == "claiming" {
		p.line("%s has not opened it, as far as is known here (%s)", w.Owner, w.OwnerState)
	}
	if len(w.Choices) > 0 {
		p.line("")
		var rows [][]string
		for _, c := range w.Choices {
			rows = append(rows, []string{c.Node, c.Kind, c.State, c.Reason})
		}
		p.table([]string{"HOST", "AS", "STATE", "WHY"}, rows)
	}
	drawRules(p, w.Rules)
	for _, n := range w.Notes {
		p.line("note: %s", n)
	}
}

// drawRules tells what would change the present.
func drawRules(p *page, rules []api.Rule) {
	if len(rules) == 0 {
		return
	}
	p.line("")
	p.line("what would change it")
	for _, r := range rules {
		if r.Key == "" {
			p.line("- %s", r.Sentence)
			continue
		}
		p.line("- %s (%s)", r.Sentence, r.Key)
	}
}

func drawWhy(p *page, w api.Why) {
	if w.Summary != "" {
		p.line("%s", w.Summary)
		p.line("")
	}
	if len(w.Reasons) > 0 {
		var rows [][]string
		for _, r := range w.Reasons {
			rows = append(rows, []string{r.Name, r.Kind, moment(r.Since), r.Sentence})
		}
		p.table([]string{"REASON", "KIND", "SINCE (UTC)", "WHAT IS SO"}, rows)
		p.line("")
	}
	p.line("%s since %s UTC: %s", w.Power, moment(w.Since), w.Cause)
	if w.LastUse.Name != "" {
		p.line("last use that has ended, at %s UTC: %s (%s)", moment(w.LastUse.Until), w.LastUse.Sentence, w.LastUse.Name)
	}
	if !w.SleepsAt.IsZero() {
		p.line("it sleeps at %s UTC if nobody comes", moment(w.SleepsAt))
	}
	if !w.WakesAt.IsZero() {
		p.line("it is to be awake at %s UTC (if it sleeps then, its own clock wakes it)", moment(w.WakesAt))
	}
	drawRules(p, w.Rules)
	for _, n := range w.Notes {
		p.line("note: %s", n)
	}
}

package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"nightporter/api"
)

func wakesVerb(sh *shell) *cobra.Command {
	var last int
	cmd := &cobra.Command{
		Use:   "wakes [NODE|SERVICE]",
		Short: "Tell who woke whom, and whether it was good for something",
		Long: `Tell the wakes of all hosts, or those of one NODE or SERVICE, oldest first. Where a
service and a host have the same name, write service/NAME or node/NAME. A client's wake was useful when
its connection completed and the client said something on it within ten seconds after its port was served,
spurious when not, and unknown where nobody can tell (datagrams). A source whose wakes are spurious uses up
its budget, and wakes nobody until that fills up again (wake: budget, in the service's definition).

Below them stand the attempts that were not allowed to wake anybody, counted in packets by source, as the
hosts that are awake have counted them since their agents started, and the wakes that wait for their turn
("nightporter set wake-inrush").`,
		Example: `  nightporter wakes --last 20
  nightporter wakes web -o json | jq -r '.wakes[] | select(.verdict == "spurious") | .client'`,
		Args: takes(0, 1, "name one NODE or SERVICE at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if last < 0 {
				return usageError{fmt.Errorf("--last is %d; write a whole number from 0 (all) on", last)}
			}
			q := api.WakesQuery{Last: last}
			if len(args) > 0 {
				q.Name = args[0]
			}
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				w, err := c.Wakes(ctx, q)
				if err != nil {
					return err
				}
				return sh.show(w, func(p *page) { drawLedger(p, w, q.Name) })
			})
		},
	}
	cmd.Flags().IntVar(&last, "last", 0, "tell so many of the newest wakes; 0 = all that are remembered (500)")
	return cmd
}

func drawLedger(p *page, w api.Wakes, of string) {
	switch {
	case len(w.Wakes) == 0 && of != "":
		p.line("no wake that concerns %s is on record", of)
	case len(w.Wakes) == 0:
		p.line("nobody was woken yet")
	default:
		var rows [][]string
		for _, k := range w.Wakes {
			rows = append(rows, []string{moment(k.Started), k.Node, k.Service, k.Cause, k.Client, k.Port, k.By, k.Verdict, ended(k)})
		}
		p.table([]string{"TIME (UTC)", "NODE", "SERVICE", "CAUSE", "CLIENT", "PORT", "BY", "VERDICT", "RESULT"}, rows)
	}
	if len(w.Waiting) > 0 {
		p.line("")
		p.line("these wait for their turn")
		var rows [][]string
		for _, k := range w.Waiting {
			rows = append(rows, []string{k.Node, k.Service, k.Client, k.By})
		}
		p.table([]string{"NODE", "SERVICE", "CLIENT", "AT"}, rows)
	}
	if len(w.Refused) > 0 {
		p.line("")
		p.line("these woke nobody")
		var rows [][]string
		for _, r := range w.Refused {
			rows = append(rows, []string{moment(r.Last), r.Service, cmp.Or(r.Source, "others"), r.Port, r.Why, number(r.Count), moment(r.First), r.By})
		}
		p.table([]string{"LAST (UTC)", "SERVICE", "SOURCE", "PORT", "WHY", "PACKETS", "FIRST", "AT"}, rows)
	}
	for _, n := range w.Notes {
		p.line("note: %s", n)
	}
}

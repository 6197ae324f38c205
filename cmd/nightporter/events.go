package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"nightporter/api"
)

// followLast is how many events are shown before the new ones.
const followLast = 10

func eventsVerb(sh *shell) *cobra.Command {
	var q api.EventsQuery
	var follow bool
	var since string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Tell the cluster's story from the log, and go on as it happens",
		Long: `Tell what the log has of the cluster, oldest first: changes of owner with their epochs, power states, wakes, whether hosts can be
woken, members, voters, definitions and settings, each with its time, its cause and who decided it. The last two
thousand events are kept on every host; they survive restarts.

With --follow it goes on until it is interrupted. It survives a restart of the agent without a gap; should more have
happened meanwhile than is kept, it says how many events it could not tell. With -o json each event is one line.

Kinds: cluster, owner, power, wake, fitness, member, voters, service, setting.`,
		Example: `  nightporter events --since 24h
  nightporter events --follow --kind owner,wake
  nightporter events --follow -o json | jq -r 'select(.kind == "owner") | .service + " " + .to'`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := sinceOf(since)
			if err != nil {
				return usageError{err}
			}
			if q.Last < 0 {
				return usageError{fmt.Errorf("--last is %d; write a whole number from 0 (all) on", q.Last)}
			}
			q.Since = api.Duration(d)
			if follow && q.Last == 0 && q.Since == 0 {
				q.Last = followLast
			}
			return sh.events(cmd, q, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as it happens; begins with the last 10 unless --since or --last says otherwise")
	cmd.Flags().StringVar(&since, "since", "", "how far back, like 24h or 7d; all that is kept without it")
	cmd.Flags().IntVarP(&q.Last, "last", "n", 0, "tell so many of the newest; 0 = all")
	cmd.Flags().StringSliceVar(&q.Kinds, "kind", nil, "only of these kinds, like owner,wake")
	cmd.Flags().StringVar(&q.Service, "service", "", "only of this service")
	cmd.Flags().StringVar(&q.Node, "node", "", "only of this node")
	return cmd
}

func (sh *shell) events(cmd *cobra.Command, q api.EventsQuery, follow bool) error {
	ask := func(ctx context.Context, c *api.Client) error {
		e, err := c.Events(ctx, q)
		if err != nil {
			return err
		}
		if err := sh.showEvents(e); err != nil {
			return err
		}
		// From here on whatever comes, of the same kinds.
		q.Cursor, q.Since, q.Last, q.Wait = e.Cursor, 0, 0, sh.patienceOf()
		return nil
	}
	if follow {
		return sh.follow(cmd, ask)
	}
	return sh.ask(cmd, ask)
}

func (sh *shell) showEvents(e api.Events) error {
	list := e.Events
	if e.Gap {
		gap := api.Event{Index: e.Cursor.Index, Kind: "gap", Sentence: "events were skipped: older than what is kept"}
		if e.Skipped > 0 {
			gap.Sentence = number(e.Skipped) + " " + gap.Sentence
		}
		list = append([]api.Event{gap}, list...)
	}
	for _, one := range list {
		if sh.output == "json" {
			if err := sh.showLine(one); err != nil {
				return err
			}
			continue
		}
		at := moment(one.At)
		if one.Kind == "gap" {
			at = "..."
		}
		if _, err := fmt.Fprintf(sh.out, "%-23s  %-7s  %s\n", at, plain(one.Kind), plain(one.Sentence)); err != nil {
			return fmt.Errorf("print the answer: %w", err)
		}
	}
	return nil
}

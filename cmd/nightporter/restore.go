package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/api"
	"nightporter/config"
)

func restoreVerb(sh *shell) *cobra.Command {
	var diff, prune, other bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring definitions and settings back from a backup",
		Long: `Bring the definitions of services, failover, wake_inrush and the hosts' maintenance back from the file that
"backup" wrote, into the cluster of this host, new or old. Services of the same name are overwritten; those that the
backup does not have stay, unless --prune deletes them. Who holds what is not brought back, and epochs never go back:
a service whose address or MAC changes is taken from its holder first, and where the backup is of another cluster than
this one, or than those that this one was recovered from, all epochs are lifted first. --diff only tells what would change.

Everything is checked before the first change; services are deleted last, but for one whose address or MAC another one is
to get. Where it ends in the middle it tells what was done and what was not; repeat it.

Members are not brought back either: hosts join by themselves. A file of another cluster is refused unless
--other-cluster says that it is meant.`,
		Example: `  nightporter restore --diff /root/nightporter.backup
  nightporter restore /root/nightporter.backup`,
		Args: takes(1, 1, "name one FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, raw, err := sh.readFile(args[0])
			if err != nil {
				return err
			}
			saved, err := agent.ReadBackup(raw)
			if err != nil {
				return fmt.Errorf("%s cannot be restored: %w", name, err)
			}
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				r, steps, err := planRestore(ctx, c, saved, other, prune, diff)
				if err != nil {
					return err
				}
				if !diff {
					if err := carryOut(ctx, steps); err != nil {
						return err
					}
					r.Done = true
				}
				return sh.show(r, func(p *page) { drawRestored(p, r) })
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&diff, "diff", false, "only tell what would change")
	flags.BoolVar(&prune, "prune", false, "delete the services that the backup does not have")
	flags.BoolVar(&other, "other-cluster", false, "the backup is of a cluster of another name, and that is meant")
	return cmd
}

// planRestore compares a backup with the cluster, and refuses what does not fit.
func planRestore(ctx context.Context, c *api.Client, saved agent.Saved, other, prune, diff bool) (*api.Restored, []step, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, nil, err
	}
	have, err := c.Services(ctx)
	if err != nil {
		return nil, nil, err
	}
	if status.Cluster.Name != saved.Cluster && !other {
		return nil, nil, api.Refused(fmt.Sprintf("cannot restore: the backup is of the cluster %s, and this host belongs to %s", saved.Cluster, status.Cluster.Name), "give --other-cluster if that is meant")
	}
	text := config.FormatServices(fromAPI(saved.Services))
	if _, err := config.LoadServices("the backup", strings.NewReader(text), status.LAN.Prefixes); err != nil && len(saved.Services) > 0 {
		return nil, nil, fmt.Errorf("the backup does not fit here, and nothing was changed: %w", err)
	}
	r := compareRestore(saved, have, status)
	if prune {
		r.Deleted, r.Extra = r.Extra, []string{}
	}
	q := queryOf(saved, r, have)
	may, err := c.Restorable(ctx, q)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeRefused && diff { // what differs may say why
		r.Notes = append(r.Notes, "it would be refused: "+strings.TrimPrefix(e.Message, "cannot restore: "))
		return r, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	r.Lifted = may.Lift
	for _, u := range may.Undrained {
		is := func(name string) bool { return name == u.Node }
		r.Drained = slices.DeleteFunc(r.Drained, is)
		q.Drain = slices.DeleteFunc(q.Drain, func(d api.DrainQuery) bool { return is(d.Node) })
		r.Notes = append(r.Notes, fmt.Sprintf("the maintenance of %s is not restored: %s; `nightporter drain --force %s`", u.Node, u.Why, u.Node))
	}
	return r, stepsOf(c, q, r), nil
}

// compareRestore is pure: what would change.
func compareRestore(saved agent.Saved, have []api.Service, status api.Status) *api.Restored {
	r := &api.Restored{
		Cluster: saved.Cluster, Made: saved.Made, Created: []string{}, Changed: []string{}, Unchanged: []string{}, Extra: []string{}, Deleted: []string{},
		Drained: []string{}, Notes: []string{},
	}
	members := make(map[string]api.NodeStatus)
	for _, n := range status.Nodes {
		members[n.Name] = n
	}
	now := make(map[string]api.Service)
	for _, s := range have {
		now[s.Name] = s
	}
	for _, s := range saved.Services {
		old, known := now[s.Name]
		delete(now, s.Name)
		switch {
		case !known:
			r.Created = append(r.Created, s.Name)
		case agent.SameDefinition(old, s, status.Cluster.Name):
			r.Unchanged = append(r.Unchanged, s.Name)
		default:
			r.Changed = append(r.Changed, s.Name)
		}
		for _, t := range s.Targets {
			if _, is := members[t]; !is {
				r.Notes = append(r.Notes, fmt.Sprintf("service %s names the target %s, which is no member now", s.Name, t))
			}
		}
	}
	r.Extra = append(r.Extra, slices.Sorted(maps.Keys(now))...)
	if saved.Failover != time.Duration(status.Failover) {
		r.Failover = api.Duration(saved.Failover)
	}
	limit := saved.Inrush
	if limit == config.NoLimit {
		limit = 0
	}
	if saved.Inrush != 0 && limit != status.Inrush {
		r.Inrush = saved.Inrush
	}
	for _, name := range slices.Sorted(maps.Keys(saved.Drained)) {
		if n, is := members[name]; is && !n.Maintenance {
			r.Drained = append(r.Drained, name)
		}
	}
	return r
}

func drawRestored(p *page, r *api.Restored) {
	verb := "would be"
	if r.Done {
		verb = "was"
	}
	for _, part := range []struct {
		what  string
		names []string
	}{{"created", r.Created}, {"changed", r.Changed}, {"deleted", r.Deleted}} {
		for _, n := range part.names {
			p.line("service %s %s %s", n, verb, part.what)
		}
	}
	for _, n := range r.Extra {
		p.line("service %s is not in the backup and stays", n)
	}
	if r.Lifted {
		p.line("every epoch %s lifted above those in the backup", verb)
	}
	if r.Failover != 0 {
		p.line("failover %s set to %s", verb, time.Duration(r.Failover))
	}
	switch {
	case r.Inrush == config.NoLimit:
		p.line("wake-inrush %s set to any number", verb)
	case r.Inrush != 0:
		p.line("wake-inrush %s set to %d", verb, r.Inrush)
	}
	for _, n := range r.Drained {
		p.line("%s %s drained", n, verb)
	}
	if len(r.Created)+len(r.Changed)+len(r.Deleted)+len(r.Drained) == 0 && r.Failover == 0 && r.Inrush == 0 && !r.Lifted {
		p.line("everything is as in the backup of %s UTC", r.Made.UTC().Format(time.DateTime))
	}
	for _, n := range r.Notes {
		p.line("note: %s", n)
	}
}

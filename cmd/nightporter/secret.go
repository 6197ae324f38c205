package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"nightporter/agent"
	"nightporter/api"
	"nightporter/config"
)

// secretStatus tells which secrets the hosts have.
type secretStatus struct {
	Nodes []secretNode `json:"nodes"`
	Next  string       `json:"next"` // what to do next, a sentence
}

type secretNode struct {
	Node  string   `json:"node"`
	Alive bool     `json:"alive"`
	Power string   `json:"power"`
	Has   []string `json:"has"` // the one in use first; empty = not known
}

func secretVerb(sh *shell) *cobra.Command {
	var path, node string
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Change the cluster's secret without downtime",
		Long: `Change the cluster's secret without downtime, in three rounds over all hosts, each followed by "systemctl
reload nightporter" on that host:

  1. "secret add FILE"     each host accepts the new secret as well
  2. "secret use NEW-ID"   each host uses the new one, and accepts the old one as well
  3. "secret drop OLD-ID"  each host forgets the old one

A round is refused on every host before the one before is complete on all, sleeping ones included: wake them
for it. Secrets are named by short names that tell nothing of them, the same on every host: "secret add" prints
them, the old one first, and "secret status" tells who has which, and how far it is.`,
		Example: `  nightporter keygen --out /root/new-secret        (once; copy it to every host)
  nightporter secret add /root/new-secret && systemctl reload nightporter
  nightporter secret status
  nightporter secret use 44556677 && systemctl reload nightporter
  nightporter secret drop 00112233 && systemctl reload nightporter`,
		Args: takesNone,
		RunE: showHelp,
	}
	cmd.PersistentFlags().StringVar(&path, "config", config.DefaultPath, "the configuration file, which names the secret file")
	cmd.PersistentFlags().StringVar(&node, "node", "", "the name of this host (default: its host name)")
	load := func() (*config.Config, error) { return sh.loadConfig(path, node, true) }
	cmd.AddCommand(
		&cobra.Command{
			Use: "status", Short: "Tell which secrets the hosts have", Args: takesNone,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
					s, err := c.Status(ctx)
					if err != nil {
						return err
					}
					r := secretsOf(s)
					return sh.show(r, func(p *page) { drawSecrets(p, r) })
				})
			},
		},
		&cobra.Command{
			Use: "add FILE", Short: "Round 1: accept the secret of a file as well", Args: takes(1, 1, "name the FILE with the new secret"),
			Example: `  nightporter secret add /root/new-secret && systemctl reload nightporter`,
			RunE: func(cmd *cobra.Command, args []string) error {
				return sh.changeSecret(cmd, load, func(have [][]byte, _ []string) ([][]byte, error) { return addSecret(have, args[0]) }, nil)
			},
		},
		&cobra.Command{
			Use: "use NEW-ID", Short: "Round 2: use the new secret, and accept the old one as well", Args: takes(1, 1, "name the new secret by its short name, NEW-ID (`nightporter secret status`)"),
			Example: `  nightporter secret use 44556677 && systemctl reload nightporter`,
			RunE: func(cmd *cobra.Command, args []string) error {
				return sh.changeSecret(cmd, load, func(have [][]byte, ids []string) ([][]byte, error) { return useSecret(have, ids, args[0]) },
					func(n secretNode, ids []string) bool { return slices.Contains(n.Has, ids[0]) })
			},
		},
		&cobra.Command{
			Use: "drop OLD-ID", Short: "Round 3: forget the old secret", Args: takes(1, 1, "name the old secret by its short name, OLD-ID (`nightporter secret status`)"),
			Example: `  nightporter secret drop 00112233 && systemctl reload nightporter`,
			RunE: func(cmd *cobra.Command, args []string) error {
				return sh.changeSecret(cmd, load, func(have [][]byte, ids []string) ([][]byte, error) { return dropSecret(have, ids, args[0]) },
					func(n secretNode, ids []string) bool { return len(n.Has) > 0 && n.Has[0] == ids[0] })
			},
		},
	)
	return cmd
}

func addSecret(have [][]byte, file string) ([][]byte, error) {
	fresh, err := config.ReadSecrets(file)
	switch {
	case err != nil:
		return nil, err
	case len(fresh) != 1:
		return nil, fmt.Errorf("%s has more than one secret: make a new one with `nightporter keygen`", file)
	case len(have) > 1 && string(have[1]) == string(fresh[0]):
		return have, nil // a round that is done twice
	case len(have) > 1:
		return nil, errors.New("this host has two secrets already: finish that change first (`nightporter secret status`)")
	case string(have[0]) == string(fresh[0]):
		return nil, fmt.Errorf("%s has the secret that is in use: make a new one with `nightporter keygen`", file)
	}
	return [][]byte{have[0], fresh[0]}, nil
}

// useSecret puts the secret of that short name first. Where it is first already, nothing changes: a round that is done twice is not undone.
func useSecret(have [][]byte, ids []string, id string) ([][]byte, error) {
	switch i := slices.Index(ids, id); {
	case i >= 0:
		return slices.Concat(have[i:], have[:i]), nil
	case len(have) == 1:
		return nil, fmt.Errorf("this host has one secret only (%s): give it the new one first (`nightporter secret add FILE`)", ids[0])
	}
	return nil, noSuchSecret(ids, id)
}

// dropSecret forgets the secret of that short name, which must not be the one in use.
func dropSecret(have [][]byte, ids []string, id string) ([][]byte, error) {
	switch i := slices.Index(ids, id); {
	case len(have) == 1:
		return nil, fmt.Errorf("this host has one secret only (%s): there is none to forget", ids[0])
	case i < 0:
		return nil, noSuchSecret(ids, id)
	case i == 0:
		return nil, fmt.Errorf("%s is the secret that is in use here, so it is not forgotten: name the other one (%s), or begin to use that first (`nightporter secret use %s`)", id, ids[1], ids[1])
	}
	return have[:1], nil
}

func noSuchSecret(ids []string, id string) error {
	return fmt.Errorf("this host has no secret %s: it has %s", id, strings.Join(ids, ", then "))
}

// changeSecret rewrites this host's secret file, if every member is as far as ready wants it: it is asked of each with the names of the
// secrets as this host will have them.
func (sh *shell) changeSecret(cmd *cobra.Command, load func() (*config.Config, error), change func([][]byte, []string) ([][]byte, error), ready func(secretNode, []string) bool) error {
	cfg, err := load()
	if err != nil {
		return err
	}
	have, err := config.ReadSecrets(cfg.SecretFile)
	if err != nil {
		return err
	}
	had, err := agent.SecretIDs(have, cfg.Cluster)
	if err != nil {
		return err
	}
	want, err := change(have, had)
	if err != nil {
		return err
	}
	ids, err := agent.SecretIDs(want, cfg.Cluster)
	if err != nil {
		return err
	}
	if slices.Equal(had, ids) {
		return sh.toldSecrets(cfg.SecretFile, had, ids)
	}
	return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if s.Cluster.Name != cfg.Cluster {
			return fmt.Errorf("the agent belongs to the cluster %s, and the configuration names %s", s.Cluster.Name, cfg.Cluster)
		}
		if err := allReady(secretsOf(s).Nodes, ids, ready); err != nil {
			return err
		}
		if err := replaceSecret(cfg.SecretFile, config.FormatSecrets(want)); err != nil {
			return err
		}
		return sh.toldSecrets(cfg.SecretFile, had, ids)
	})
}

// toldSecrets says what the file had and has.
func (sh *shell) toldSecrets(path string, had, has []string) error {
	text := fmt.Sprintf("%s has %s now; next: systemctl reload nightporter", path, strings.Join(has, ", then "))
	switch gone := slices.DeleteFunc(slices.Clone(had), func(id string) bool { return slices.Contains(has, id) }); {
	case len(gone) > 0:
		text = fmt.Sprintf("%s is forgotten; %s", strings.Join(gone, ", "), text)
	case slices.Equal(had, has):
		text = fmt.Sprintf("nothing was changed: %s has %s already; if the agent does not know that yet: systemctl reload nightporter", path, strings.Join(has, ", then "))
	}
	return sh.show(done{text}, func(p *page) { p.line("%s", text) })
}

// allReady says which hosts keep a round from beginning.
func allReady(nodes []secretNode, ids []string, ready func(secretNode, []string) bool) error {
	if ready == nil {
		return nil
	}
	var late []string
	for _, n := range nodes {
		if !ready(n, ids) {
			late = append(late, fmt.Sprintf("%s (%s)", n.Node, n.condition()))
		}
	}
	if len(late) > 0 {
		return api.Refused("the round before is not complete: "+strings.Join(late, ", ")+" would be locked out", "wake hosts that sleep, do the round before there, and reload their agents; `nightporter forget` those that are gone for good")
	}
	return nil
}

func (n secretNode) condition() string {
	switch {
	case len(n.Has) == 0 && !n.Alive:
		return n.Power + ", what it has is not known"
	case len(n.Has) == 0:
		return "its version does not say what it has"
	}
	return "has " + strings.Join(n.Has, ", then ")
}

// replaceSecret replaces the file in one step; owner and mode stay.
func replaceSecret(path string, data []byte) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("find the secret file: %w", err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return fmt.Errorf("look at the secret file: %w", err)
	}
	f, err := renameio.NewPendingFile(real, renameio.WithStaticPermissions(0o600), renameio.WithTempDir(filepath.Dir(real)))
	if err != nil {
		return fmt.Errorf("write the secret file: %w", err)
	}
	defer f.Cleanup()
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("give the secret file its owner: %w", err)
		}
	}
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write the secret file: %w", err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("replace the secret file: %w", err)
	}
	return nil
}

// secretsOf picks out of a status which secrets the hosts have, and says what comes next.
func secretsOf(s api.Status) secretStatus {
	r := secretStatus{Nodes: []secretNode{}}
	seen := make(map[string]bool)
	both, one := 0, 0
	unknown := false
	for _, n := range s.Nodes {
		r.Nodes = append(r.Nodes, secretNode{Node: n.Name, Alive: n.Alive, Power: n.Power, Has: n.Secrets})
		for _, id := range n.Secrets {
			seen[id] = true
		}
		switch len(n.Secrets) {
		case 0:
			unknown = true
		case 1:
			one++
		default:
			both++
		}
	}
	firsts := make(map[string]bool)
	for _, n := range r.Nodes {
		if len(n.Has) > 0 {
			firsts[n.Has[0]] = true
		}
	}
	switch {
	case len(seen) <= 1 && !unknown:
		r.Next = "all hosts have one and the same secret; to change it: `nightporter keygen`, copy the file to all hosts, and `nightporter secret add FILE` on each"
	case unknown:
		r.Next = "of some hosts it is not known what they have: wake or upgrade them"
	case both == len(r.Nodes) && len(firsts) == 1:
		has := r.Nodes[0].Has
		r.Next = fmt.Sprintf("all hosts accept both secrets and use %s. If %s is the new one: `nightporter secret use %s` on each is the second round; if it is the old one: `nightporter secret drop %s` on each is the third",
			has[0], has[1], has[1], has[1])
	case both == len(r.Nodes):
		r.Next = "the second round is under way: `nightporter secret use NEW-ID` where the old one still stands first"
	case len(firsts) == 1:
		r.Next = "the first or the third round is under way: `nightporter secret add FILE`, or `nightporter secret drop OLD-ID`, where the others did it and these hosts did not"
	default:
		r.Next = "hosts use different secrets and do not all accept both: see the list"
	}
	return r
}

func drawSecrets(p *page, r secretStatus) {
	var rows [][]string
	for _, n := range r.Nodes {
		use, also := "", ""
		if len(n.Has) > 0 {
			use, also = n.Has[0], strings.Join(n.Has[1:], ",")
		}
		rows = append(rows, []string{n.Node, n.Power, yes(n.Alive), use, also})
	}
	p.table([]string{"NODE", "POWER", "ALIVE", "USES", "ACCEPTS TOO"}, rows)
	p.line("%s", r.Next)
}

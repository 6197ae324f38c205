package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/config"
	"nightporter/fsm"
)

// Backup gives the state as the leader has it, with everything that was committed before.
func (b *backend) Backup(ctx context.Context) (api.BackupOf, error) {
	const tried = "back up the state"
	if c, err := b.forward(ctx, tried); err != nil || c != nil {
		return forwarded(err, func() (api.BackupOf, error) { return c.Backup(ctx) })
	}
	if err := b.raft.Barrier(ctx); err != nil {
		return api.BackupOf{}, outcome(tried, fsm.Result{}, err)
	}
	v := b.machine.View()
	raw, err := portable(v.State)
	if err != nil {
		return api.BackupOf{}, err
	}
	return api.BackupOf{State: raw, Index: v.Index, By: b.cfg.Node}, nil
}

// Backup implements api.Backend.
func (p patient) Backup(ctx context.Context) (api.BackupOf, error) {
	return insistently(ctx, p.backend, func() (api.BackupOf, error) { return p.backend.Backup(ctx) })
}

// portable encodes a state without the passwords of network cards, the one thing in it that not everybody may read.
func portable(s *fsm.State) ([]byte, error) {
	out := *s
	out.Fitness = maps.Clone(s.Fitness)
	for name, f := range out.Fitness {
		f.Report.Password = ""
		out.Fitness[name] = f
	}
	raw, err := fsm.EncodeState(&out)
	if err != nil {
		return nil, fmt.Errorf("encoding the state for a backup: %w", err)
	}
	return raw, nil
}

// A backup is a line with a mark, the version of the form and the SHA-256 of all that follows, and a document. It is text, so that a person
// can read it; nobody can change it unnoticed by mistake.
const (
	backupMark   = "nightporter-backup"
	backupFormat = 1
)

// backupFile is the document.
type backupFile struct {
	Made    time.Time       `json:"made"`
	By      string          `json:"by"` // the node whose state it is
	Version string          `json:"version"`
	Index   uint64          `json:"index"`
	Format  uint8           `json:"format"` // of the state
	State   json.RawMessage `json:"state"`
}

// stateHeader is what fsm.EncodeState writes before its JSON: a mark and the format.
const stateHeader = "NPS"

// WriteBackup makes the file of a backup.
func WriteBackup(of api.BackupOf, version string, now time.Time) ([]byte, error) {
	body, ok := bytes.CutPrefix(of.State, []byte(stateHeader))
	if !ok || len(body) < 2 {
		return nil, errors.New("the agent's answer is no state")
	}
	doc, err := json.MarshalIndent(backupFile{Made: now, By: of.By, Version: version, Index: of.Index, Format: body[0], State: json.RawMessage(body[1:])}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encoding the backup: %w", err)
	}
	doc = append(doc, '\n')
	sum := sha256.Sum256(doc)
	return append(fmt.Appendf(nil, "%s %d %s\n", backupMark, backupFormat, hex.EncodeToString(sum[:])), doc...), nil
}

// OfflineBackup reads the state of a host whose agent does not run. It may have entries that were never committed.
func OfflineBackup(cfg *config.Config) (of api.BackupOf, err error) {
	disk := newSystemDisk(cfg.DataDir, cfg.RunDir)
	lock, err := disk.Idle()
	if err != nil {
		return of, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	r, err := cluster.ReadRemains(disk.inData("raft"))
	if err != nil {
		return of, fmt.Errorf("reading the state in %s: %w", cfg.DataDir, err)
	}
	raw, err := portable(r.State)
	return api.BackupOf{State: raw, Index: r.Index, By: cfg.Node}, err
}

// Saved is what a backup has that can be restored. Who held what is not among it: epochs never go back (I9).
type Saved struct {
	Cluster  string
	Epochs   api.Epochs // what another cluster has to get above
	Made     time.Time
	By       string
	Version  string
	Services []api.Service // by name
	Failover time.Duration
	Inrush   int // as api.Settings has it; 0 = never set
	Drained  map[string]api.Drain
	Members  []string
}

// ReadBackup reads the file of a backup and checks it.
func ReadBackup(file []byte) (s Saved, err error) {
	line, doc, _ := bytes.Cut(file, []byte("\n"))
	var format int
	var sum string
	if n, err := fmt.Sscanf(string(line), backupMark+" %d %64s", &format, &sum); n != 2 || err != nil {
		return s, errors.New("it is no backup: its first line is not that of one")
	}
	if format > backupFormat {
		return s, fmt.Errorf("it has the form %d, and this version reads up to %d: use the newer version that made it", format, backupFormat)
	}
	if got := sha256.Sum256(doc); hex.EncodeToString(got[:]) != sum {
		return s, errors.New("its checksum is wrong: it is cut short, damaged, or was changed by hand")
	}
	var b backupFile
	if err := json.Unmarshal(doc, &b); err != nil {
		return s, fmt.Errorf("it makes no sense: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b.State); err != nil {
		return s, fmt.Errorf("its state makes no sense: %w", err)
	}
	state, err := fsm.DecodeState(append(append([]byte(stateHeader), b.Format), compact.Bytes()...))
	if err != nil {
		return s, err
	}
	if state.Cluster.ID == "" {
		return s, errors.New("the state in it belongs to no cluster")
	}
	s = Saved{
		Cluster: state.Cluster.Name, Epochs: api.Epochs{Cluster: state.Cluster.ID, Highest: state.Above()}, Made: b.Made, By: b.By, Version: b.Version, Failover: state.Timing.Failover, Inrush: state.Inrush,
		Services: []api.Service{}, Drained: make(map[string]api.Drain), Members: slices.Sorted(maps.Keys(state.Nodes)),
	}
	for _, name := range slices.Sorted(maps.Keys(state.Services)) {
		s.Services = append(s.Services, toAPI(state.Services[name]))
	}
	for name := range state.Drains {
		s.Drained[name] = drainOf(state, name)
	}
	return s, nil
}

// SameDefinition says whether two definitions mean the same in a cluster of that name.
func SameDefinition(a, b api.Service, clusterName string) bool {
	bk := &backend{parts: &parts{cfg: &config.Config{Cluster: clusterName}}}
	return sameService(bk.fromAPI(a), bk.fromAPI(b))
}

package agent

import (
	"context"
	"log/slog"
	"time"

	"nightporter/cluster"
	"nightporter/fsm"
)

// applied keeps on disk how far this host has applied the log. What is committed stays so, so the next life of this agent knows it
// at once, and not only when a leader has come by: a front that was started again while nobody leads must know whom to call.
type applied struct {
	machine *fsm.Machine
	journal *cluster.Journal
	disk    Disk
	log     *slog.Logger
	kept    uint64
}

// appliedEvery is the least pause between two writes.
const appliedEvery = time.Second

func (k *applied) run(ctx context.Context) {
	changed, cancel := k.machine.Watch()
	defer cancel()
	pause := time.NewTicker(appliedEvery)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			k.keep()
			return
		case <-changed:
		}
		k.keep()
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
}

// keep writes it down. A disk that takes nothing costs the next life some knowledge, and is complained of elsewhere.
func (k *applied) keep() {
	mark := cluster.Mark{Index: k.machine.View().Index}
	term, ok := k.journal.Term(mark.Index)
	if mark.Term = term; !ok || mark.Index == k.kept {
		return
	}
	if err := k.disk.SaveApplied(mark); err != nil {
		k.log.Debug("how far the log is applied is not remembered", "err", err)
		return
	}
	k.kept = mark.Index
}

// recall tells the log what an earlier life had applied. It believes it only of an entry that it has.
func (a *parts) recall(node *cluster.Raft) {
	mark, err := a.deps.Disk.LoadApplied()
	if err != nil {
		a.deps.Log.Debug("what an earlier life had applied is not known", "err", err)
	}
	if f := a.deps.Former; f != nil && f.Index > mark.Index {
		mark.Index = f.Index
		mark.Term, _ = node.Journal().Term(f.Index)
	}
	if mark.Index != 0 {
		node.Committed(mark)
	}
}

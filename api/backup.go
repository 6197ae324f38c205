package api

import "context"

// BackupOf is the replicated state as its leader has it.
type BackupOf struct {
	State []byte `json:"state"` // as it is encoded for snapshots, without passwords
	Index uint64 `json:"index"` // of the last entry in it
	By    string `json:"by"`    // the leader
}

// Backup implements Backend.
func (c *Client) Backup(ctx context.Context) (out BackupOf, err error) {
	err = c.ask(ctx, "backup", "back up the state", none{}, &out)
	return out, err
}

package api

import (
	"context"
	"time"
)

// RestoreQuery is what is about to be brought back from a backup, in this order: the lift of epochs where one is needed, Delete, Services one by one,
// Settings, Drain.
type RestoreQuery struct {
	Epochs   Epochs       `json:"epochs"`
	Delete   []string     `json:"delete"` // services that have what others are to get
	Services []Service    `json:"services"`
	Settings Settings     `json:"settings"`
	Drain    []DrainQuery `json:"drain"`
}

// Epochs are those in a backup.
type Epochs struct {
	Cluster string `json:"cluster"` // the ID of the cluster that it is of
	Highest uint64 `json:"highest"`
}

// Restorable says that nothing is known that would be refused.
type Restorable struct {
	Lift      bool        `json:"lift"`                // all epochs are lifted first: the backup is of another cluster, or has higher ones
	Undrained []Undrained `json:"undrained,omitempty"` // whose maintenance cannot be had now
}

// Undrained is a host that cannot be drained.
type Undrained struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// Restored tells what a restore changes, or has changed.
type Restored struct {
	Cluster   string    `json:"cluster"`     // the name of the one that the backup is of
	Made      time.Time `json:"made"`        // when the backup was
	Created   []string  `json:"created"`     // services that the cluster did not have
	Changed   []string  `json:"changed"`     // services that were defined otherwise
	Unchanged []string  `json:"unchanged"`   // services that are as in the backup
	Extra     []string  `json:"extra"`       // services that the backup does not have and that stay
	Deleted   []string  `json:"deleted"`     // with --prune
	Failover  Duration  `json:"failover"`    // it is set to that; 0 = stays
	Inrush    int       `json:"wake_inrush"` // it is set to that; -1 = any number, 0 = stays
	Drained   []string  `json:"drained"`     // hosts that were in maintenance, and are members and not so now
	Lifted    bool      `json:"lifted"`      // all epochs are lifted above those of the cluster that the backup is of
	Notes     []string  `json:"notes"`       // what is not as in the backup, or would be refused, a sentence each
	Done      bool      `json:"done"`        // false = it was only asked what would change (--diff)
}

// Restorable implements Backend.
func (c *Client) Restorable(ctx context.Context, q RestoreQuery) (out Restorable, err error) {
	err = c.ask(ctx, "restorable", "find out whether the backup can be restored", q, &out)
	return out, err
}

// LiftEpochs implements Backend.
func (c *Client) LiftEpochs(ctx context.Context, e Epochs) error {
	return c.ask(ctx, "lift-epochs", "lift the epochs", e, &none{})
}

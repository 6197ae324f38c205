package api

import "context"

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
	Lift bool `json:"lift"` // all epochs are lifted first: the backup is of another cluster
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

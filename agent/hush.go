package agent

// hush closes the fence and keeps the tenure: its lease is asked for, as a sign of life, and opens nothing.
func (t *tenant) hush() {
	t.holder.Abandon()
	t.granted = 0
	if !t.opened {
		return // what was granted opens nothing
	}
	if t.hold != nil {
		if err := t.hold.Close(); err != nil {
			t.fail(doClose, err)
			return // tried again with the next step; the kernel closes it at its deadline
		}
		t.well(doClose)
	}
	t.opened = false
	t.log.Warn("the fence is closed: it is in doubt who else is there", "service", t.service, "epoch", t.epoch)
}

//go:build vm

package vm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"nightporter/api"
)

// kernelRefuses: whatever is to suspend the machine is told by the kernel that it cannot (its own means to try that, CONFIG_PM_NOTIFIER_ERROR_INJECT).
func (w *world) kernelRefuses() {
	w.Helper()
	const inject = "/sys/kernel/debug/notifier-error-inject/pm/actions/PM_SUSPEND_PREPARE/error"
	_, err := w.shell.run(w.limit(), "modprobe pm-notifier-error-inject; echo -12 >"+inject)
	w.must(err)
	w.comesToNothing("the kernel refuses")
	w.refusedWhileServing()
	_, err = w.shell.run(w.limit(), "echo 0 >"+inject)
	w.must(err)
	w.story("the kernel does not refuse any more", w.order, w.connects)
}

// unitFails: systemd's own unit does not come so far.
func (w *world) unitFails() {
	w.Helper()
	const dir = "/run/systemd/system/systemd-suspend.service.d"
	_, err := w.shell.run(w.limit(), "mkdir -p "+dir+"; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >"+dir+"/fails.conf; systemctl daemon-reload")
	w.must(err)
	w.comesToNothing("systemd's unit fails")
	_, err = w.shell.run(w.limit(), "rm -r "+dir+"; systemctl daemon-reload")
	w.must(err)
}

// comesToNothing: the host hands over, its suspend fails, and it is back with what it had and says why.
func (w *world) comesToNothing(why string) {
	w.Helper()
	w.awaitOwner("serving", place)
	asleep, _ := w.count()
	records, began := len(w.changes()), time.Now()
	told := w.order()
	var said string
	w.await("the failure is recorded", func() string {
		st, err := w.status("h1")
		if err != nil {
			return err.Error()
		}
		i := slices.IndexFunc(st.Nodes, func(n api.NodeStatus) bool { return n.Name == place })
		if i < 0 || st.Nodes[i].Power != "awake" || st.Nodes[i].PowerReason != "suspend-failed" {
			return fmt.Sprintf("%+v", st.Nodes)
		}
		return ""
	})
	w.awaitOwner("serving", place)
	took := time.Since(began)
	err := <-told // the node was asleep by its record for a moment, or is seen to be awake again
	for _, p := range w.guestStatus().Problems {
		if strings.Contains(p, "this host did not sleep") {
			said = p
		}
	}
	if said == "" {
		w.Errorf("the guest's agent has no sentence about it: %q", w.guestStatus().Problems)
	}
	if after, _ := w.count(); after != asleep {
		w.Errorf("the machine slept all the same")
	}
	if n := len(w.changes()) - records; n < 2 {
		w.Errorf("the log has %d changes of the owner, want 2: away and back", n)
	}
	w.connects()
	w.Logf("%s: %q (to who asked: %v); it serves again %v after the order", why, said, err, took.Round(time.Millisecond))
}

// refusedWhileServing: somebody else tries without a word, and the kernel refuses. The count of suspends has gone up, so the fence is closed until the lease was given anew.
func (w *world) refusedWhileServing() {
	w.Helper()
	w.awaitOwner("serving", place)
	before := len(w.changes())
	if out, err := w.shell.run(w.limit(), unannounced); err == nil {
		w.Errorf("the kernel did not refuse: %s", out)
	}
	at := time.Now()
	w.connects()
	w.await("the machine uses the identity again", func() string {
		if w.claims(at, time.Now()) == 0 {
			return "it does not"
		}
		return ""
	})
	if after := len(w.changes()); after != before {
		w.Errorf("the identity has moved %d times", after-before)
	}
}

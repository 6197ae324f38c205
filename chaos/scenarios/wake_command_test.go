package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// A program of the host says when it is to be awake: its own clock wakes it then. While it cannot say so the host stays awake, and tells why.
func TestAProgramSaysWhenToWake(t *testing.T) {
	said := filepath.Join(t.TempDir(), "wake-at")
	w := build(t, lab.Options{Hosts: 3, Sleepers: []int{3}, Idle: time.Hour, StayAwake: []string{"wake_commands: [[cat, " + said + "]]"}, Lines: []string{"suspend_timeout: 2s"}})
	w.settled(nil, 3)
	_, err := w.api("h1").Sleep(w.limit(), "h3")
	w.wantCode(err, api.CodeRefused)
	w.await("h3 tells why it stays awake", func() string { // it learns after the leader that it does
		why := strings.Join(w.why("h3", "h3").Notes, "\n")
		if strings.Contains(why, "wants it awake cannot be found out: exit status 1") {
			return ""
		}
		return "its notes are: " + why
	})
	if is := w.power()["h3"].Power; is != lab.PowerUp {
		t.Errorf("while its program fails h3 is %s", is)
	}
	at := time.Now().Add(8 * time.Second).Truncate(time.Second) // the hand-over may take 2 s of it
	w.must(os.WriteFile(said, fmt.Appendln(nil, at.Unix()), 0o644))
	w.sleep("h3")
	var why api.Why
	w.await("h3 wakes at its time", func() string {
		if why = w.why("h1", "h3"); why.Power != "awake" {
			return why.Power
		}
		return ""
	})
	if late := time.Since(at); late < -time.Second || late > 10*time.Second || why.PowerReason != "woke-on-time" {
		t.Errorf("%v after its time it is %s (%s)", late, why.Power, why.PowerReason)
	}
	w.await("the ledger has the wake", func() string {
		all := w.wakes("h1", "h3").Wakes
		if len(all) == 0 || all[len(all)-1].Cause != "woke-on-time" || all[len(all)-1].By != "h3" {
			return fmt.Sprintf("%+v", all)
		}
		return ""
	})
}

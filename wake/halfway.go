package wake

import (
	"bytes"
	"os"
	"path/filepath"
)

// cgroupRoots are where a unit's processes are listed: with the unified hierarchy, and with the two older ways to mount it.
var cgroupRoots = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"}

// twoSleeps is systemd's unit for suspend-then-hibernate: its process suspends the host, is woken by its own alarm, and hibernates. To logind
// all of that is one sleep: it sends PrepareForSleep(true) before it starts the unit's target, and PrepareForSleep(false) when that job is over, which is
// after both halves (match_job_removed in logind-dbus.c). So nobody announces the second half, nor that the first has ended. Where something else
// wakes the host the process ends at once (systemd-sleep(8)).
const twoSleeps = "system.slice/systemd-suspend-then-hibernate.service/cgroup.procs"

// Halfway says whether a suspend-then-hibernate is under way. A host that is awake then may be about to hibernate.
func Halfway() bool { return halfway(cgroupRoots) }

func halfway(roots []string) bool {
	for _, root := range roots {
		if b, err := os.ReadFile(filepath.Join(root, twoSleeps)); err == nil && len(bytes.TrimSpace(b)) > 0 {
			return true
		}
	}
	return false // there is no such unit, or no systemd
}

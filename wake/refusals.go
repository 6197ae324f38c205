package wake

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// statsDir is where Linux (from 5.4 on) counts suspends, and keeps what the last ones failed by.
const statsDir = "/sys/power/suspend_stats"

// Refusals is what the kernel keeps of suspends that it did not carry out. The zero value is that of one that keeps nothing.
type Refusals struct {
	Count  uint64
	Steps  map[string]uint64 // of them, by the step that failed: "freeze", "suspend", ...; an early one counts in none
	Errno  unix.Errno        // of the last
	Device string            // that failed last
}

// ReadRefusals reads it.
func ReadRefusals() Refusals { return readRefusals(statsDir) }

func readRefusals(dir string) (r Refusals) {
	r.Count, _ = readCount(filepath.Join(dir, "fail")) // not there: 0, for ever
	r.Steps = map[string]uint64{}
	for _, step := range []string{"freeze", "prepare", "suspend", "suspend_late", "suspend_noirq"} {
		r.Steps[step], _ = readCount(filepath.Join(dir, "failed_"+step))
	}
	if n, err := strconv.Atoi(line(filepath.Join(dir, "last_failed_errno"))); err == nil && n < 0 {
		r.Errno = unix.Errno(-n)
	}
	r.Device = line(filepath.Join(dir, "last_failed_dev"))
	return r
}

// line is the first one of a file; "" = there is none.
func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(first)
}

// Since says by what the kernel has refused a suspend since an earlier reading, half a sentence; "" = it has not.
func (r Refusals) Since(before Refusals) string {
	if r.Count <= before.Count {
		return ""
	}
	why := "the kernel refused it"
	if r.Errno != 0 {
		why = fmt.Sprintf("%s (%v)", why, r.Errno)
	}
	for _, step := range slices.Sorted(maps.Keys(r.Steps)) {
		switch {
		case r.Steps[step] == before.Steps[step]:
		case step == "freeze":
			return why + ": a process could not be stopped"
		default:
			return fmt.Sprintf("%s: the device %s (%s)", why, cmp.Or(r.Device, "that it does not name"), step)
		}
	}
	return why
}

package wake

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sourcesDir has a folder for each wake-up source of this host (Documentation/ABI/testing/sysfs-class-wakeup, Linux 5.4).
const sourcesDir = "/sys/class/wakeup"

// Sources counts the events of each of this host's wake-up sources: its power button, clock, network card, USB. nil: the kernel does not tell.
func Sources() map[string]uint64 { return readSources(sourcesDir) }

func readSources(dir string) map[string]uint64 {
	found, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	out := make(map[string]uint64)
	for _, one := range found {
		name, err := os.ReadFile(filepath.Join(dir, one.Name(), "name"))
		if err != nil {
			continue // a device that has just gone
		}
		n, counted := readCount(filepath.Join(dir, one.Name(), "event_count"))
		if counted {
			out[strings.TrimSpace(string(name))] += n
		}
	}
	return out
}

// Busier names the sources that have had events since. What happened while the host went to sleep counts as well: the kernel tells no times
// that would last over a sleep.
func Busier(before, after map[string]uint64) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if was, known := before[name]; known && after[name] > was {
			out = append(out, printableName(name))
		}
	}
	return out
}

// printableName is a device's name for a record: it comes from firmware.
func printableName(name string) string {
	const most = 40
	name = strings.Map(printable, strings.ToValidUTF8(name, "?"))
	if len(name) > most {
		name = name[:most]
	}
	return strconv.Quote(name)
}

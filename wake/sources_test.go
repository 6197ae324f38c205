package wake

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSources(t *testing.T) {
	dir := t.TempDir()
	source := func(folder, name, events string) {
		t.Helper()
		at := filepath.Join(dir, folder)
		must(t, os.MkdirAll(at, 0o755))
		must(t, os.WriteFile(filepath.Join(at, "name"), []byte(name+"\n"), 0o644))
		must(t, os.WriteFile(filepath.Join(at, "event_count"), []byte(events+"\n"), 0o644))
	}
	source("wakeup0", "LNXPWRBN:00", "1")
	source("wakeup1", "rtc_cmos", "7")
	source("wakeup2", "alarmtimer", "many") // unreadable
	must(t, os.Mkdir(filepath.Join(dir, "wakeup3"), 0o755))
	before := readSources(dir)
	if want := (map[string]uint64{"LNXPWRBN:00": 1, "rtc_cmos": 7}); !maps.Equal(before, want) {
		t.Fatalf("%v, want %v", before, want)
	}
	source("wakeup1", "rtc_cmos", "8")
	source("wakeup4", "usb"+strings.Repeat("x", 100), "3") // new: what it did before is not known
	after := readSources(dir)
	if got := Busier(before, after); !slices.Equal(got, []string{`"rtc_cmos"`}) {
		t.Errorf("%v", got)
	}
	if got := Busier(nil, after); got != nil {
		t.Errorf("%v, though nobody looked before", got)
	}
	if got := readSources(filepath.Join(dir, "none")); got != nil {
		t.Errorf("%v of a kernel that does not tell", got)
	}
}

package agent

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// ticksPerSecond is USER_HZ, in which /proc counts processor time: 100 on every architecture that Go runs on.
const ticksPerSecond = 100

// ofProcess reads what the kernel says of this process; what it does not say is left out.
func (g gathered) ofProcess() {
	g.add("go_goroutines", float64(runtime.NumGoroutine()))
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		g.add("process_open_fds", float64(len(list)-1)) // without the one that reads them
	}
	line, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	// The second field is the program's name in brackets and may have anything in it; proc(5) numbers the fields from 1.
	f := strings.Fields(string(line[strings.LastIndexByte(string(line), ')')+1:]))
	field := func(n int) float64 {
		if n-3 >= len(f) {
			return 0
		}
		v, err := strconv.ParseFloat(f[n-3], 64)
		if err != nil {
			return 0
		}
		return v
	}
	g.add("process_cpu_seconds_total", (field(14)+field(15))/ticksPerSecond)
	g.add("process_resident_memory_bytes", field(24)*float64(os.Getpagesize()))
	if boot := bootTime(); boot > 0 {
		g.add("process_start_time_seconds", boot+field(22)/ticksPerSecond)
	}
}

// bootTime is when this host started, in seconds since 1970; 0 = the kernel does not say.
func bootTime() float64 {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "btime "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				return 0
			}
			return v
		}
	}
	return 0
}

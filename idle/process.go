package idle

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// commLength is what the kernel keeps of a program's name.
const commLength = 15

// Running gives those of the names that a running process has (proc(5), comm), sorted. A name is compared as far as the kernel keeps it: its first
// 15 bytes.
func Running(names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	wanted := make(map[string]string, len(names))
	for _, n := range names {
		wanted[n[:min(len(n), commLength)]] = n
	}
	var out []string
	err := eachProcess(func(dir string) {
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if n, ok := wanted[strings.TrimSuffix(string(comm), "\n")]; err == nil && ok && !slices.Contains(out, n) {
			out = append(out, n)
		}
	})
	slices.Sort(out)
	return out, err
}

// eachProcess calls f with the directory of each process; it may have ended by then.
func eachProcess(f func(dir string)) error {
	d, err := os.Open("/proc")
	if err != nil {
		return fmt.Errorf("listing the processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("listing the processes: %w", err)
	}
	for _, n := range names {
		if _, err := strconv.Atoi(n); err == nil {
			f(filepath.Join("/proc", n))
		}
	}
	return nil
}

// arguments reads the command line of a process; "" = it has none, or has ended.
func arguments(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
}

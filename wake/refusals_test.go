package wake

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// Files as a kernel 6.1 has them; the count of a step that a kernel does not have is missing.
func TestRefusals(t *testing.T) {
	quiet := map[string]string{
		"fail": "1\n", "failed_freeze": "0\n", "failed_prepare": "0\n", "failed_suspend": "1\n", "failed_suspend_late": "0\n",
		"last_failed_errno": "-16\n-5\n", "last_failed_dev": "0000:00:02.0\n\n",
	}
	for name, c := range map[string]struct {
		changed map[string]string
		want    string
	}{
		"nothing":   {nil, ""},
		"a success": {map[string]string{"success": "7\n"}, ""},
		"early":     {map[string]string{"fail": "2\n", "last_failed_errno": "-12\n-16\n"}, "the kernel refused it (cannot allocate memory)"},
		"a process": {map[string]string{"fail": "2\n", "failed_freeze": "1\n"}, "the kernel refused it (device or resource busy): a process could not be stopped"},
		"a device":  {map[string]string{"fail": "3\n", "failed_suspend": "2\n"}, "the kernel refused it (device or resource busy): the device 0000:00:02.0 (suspend)"},
		"no name":   {map[string]string{"fail": "2\n", "failed_suspend_late": "1\n", "last_failed_dev": "", "last_failed_errno": ""}, "the kernel refused it: the device that it does not name (suspend_late)"},
	} {
		dir := t.TempDir()
		put := func(files map[string]string) Refusals {
			for file, text := range files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return readRefusals(dir)
		}
		before := put(quiet)
		after := maps.Clone(quiet)
		maps.Copy(after, c.changed)
		if got := put(after).Since(before); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := readRefusals(t.TempDir()).Since(Refusals{}); got != "" {
		t.Errorf("a kernel that keeps nothing: %q", got)
	}
}

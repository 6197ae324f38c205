// Command testall runs every test with the race detector and tells, at the end and on one page, what failed and what
// could not run. A test that cannot run on this machine says why and skips; with CI=true that is an error, so that a
// green run means that everything ran. Arguments are given to `go test`.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of a package that did not build
	Elapsed                       float64
}

// tally is what a run has come to.
type tally struct {
	passed  int
	failed  []string
	skipped []string // with the reason
	output  map[string][]string
}

func main() {
	os.Exit(run(os.Stdout, os.Args[1:], os.Getenv("CI") == "true"))
}

// alone are the packages that run when nothing else does: random runs in real time with a failover of 400 ms, in which a machine that has no time
// for a third of that takes the services from their holders.
var alone = []string{"/chaos/run"}

func run(out io.Writer, args []string, ci bool) int {
	all, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		fmt.Fprintf(out, "testall: list the packages: %v\n", err)
		return 1
	}
	t := &tally{output: map[string][]string{}}
	var errs []error
	for _, together := range turns(strings.Fields(string(all))) {
		errs = append(errs, t.test(out, append(slices.Clone(args), together...)))
	}
	return t.verdict(out, errors.Join(errs...), ci)
}

// turns are the packages that are tested side by side, one after the other.
func turns(all []string) (out [][]string) {
	var rest []string
	for _, pkg := range all {
		if slices.ContainsFunc(alone, func(end string) bool { return strings.HasSuffix(pkg, end) }) {
			out = append(out, []string{pkg})
		} else {
			rest = append(rest, pkg)
		}
	}
	return append(out, rest)
}

func (t *tally) test(out io.Writer, args []string) error {
	// No result of an earlier run: tests in a laboratory build the program themselves, so that go does not see what they depend on.
	cmd := exec.Command("go", append([]string{"test", "-race", "-json", "-count=1", "-timeout=30m"}, args...)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return errors.Join(t.read(pipe, out), cmd.Wait())
}

// read follows the events and prints what a person wants to see at once: a line for each package, and what failed.
func (t *tally) read(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(out, lines.Text()) // not an event: a word of the go command itself
			continue
		}
		t.note(e, out)
	}
	return lines.Err()
}

func (t *tally) note(e event, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "output":
		t.output[key] = append(t.output[key], e.Output)
	case "pass":
		if e.Test == "" {
			fmt.Fprintf(out, "ok    %s  %.1fs\n", e.Package, e.Elapsed)
			break
		}
		t.passed++
		delete(t.output, key)
	case "fail":
		t.failed = append(t.failed, strings.TrimSpace(key))
		fmt.Fprintf(out, "FAIL  %s\n%s", key, strings.Join(t.output[key], ""))
		delete(t.output, key)
		if e.Test == "" {
			t.rest(e.Package, out)
		}
	case "skip":
		if e.Test != "" {
			t.skipped = append(t.skipped, key+": "+reason(t.output[key]))
			delete(t.output, key)
		}
	}
}

// rest prints what the tests of a package had said that never came to an end: where a process dies in the middle, its last words
// are among that.
func (t *tally) rest(pkg string, out io.Writer) {
	for _, key := range slices.Sorted(maps.Keys(t.output)) {
		if strings.HasPrefix(key, pkg+" ") {
			fmt.Fprintf(out, "unfinished  %s\n%s", key, strings.Join(t.output[key], ""))
			delete(t.output, key)
		}
	}
}

// reason finds what a skipped test said: "file.go:12: why" between the lines of the go command.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

// verdict prints the last page and gives the exit code.
func (t *tally) verdict(out io.Writer, err error, ci bool) int {
	code := 0
	if len(t.skipped) > 0 {
		slices.Sort(t.skipped)
		fmt.Fprintf(out, "\nCould not run on this machine (%d):\n  %s\n", len(t.skipped), strings.Join(t.skipped, "\n  "))
		if ci {
			fmt.Fprintln(out, "That is an error here, because CI=true.")
			code = 1
		}
	}
	if len(t.failed) > 0 {
		fmt.Fprintf(out, "\nFailed:\n  %s\n", strings.Join(t.failed, "\n  "))
		code = 1
	}
	if err != nil {
		fmt.Fprintf(out, "\ngo test: %v\n", err)
		code = 1
	}
	if t.passed == 0 {
		fmt.Fprintln(out, "\nNo test ran.")
		code = 1
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", t.passed, len(t.failed), len(t.skipped))
	return code
}

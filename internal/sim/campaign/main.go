// Campaign runs the simulation for many seeds, in as many processes as there are processors: a bubble of virtual time keeps
// one processor busy. It prints a line for each failure, and leaves a folder with all that is needed to judge it again. A run
// that ends its process (a panic in an agent is one) or that comes to no end is a failure too.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	seed := flag.Uint64("seed", 1, "the first seed")
	seeds := flag.Uint64("seeds", 100, "how many")
	out := flag.String("out", filepath.Join("bin", "sim"), "where failures are kept")
	replay := flag.String("replay", "", "the folder of a failure: judge it again and run its schedule again")
	flag.Parse()
	if err := campaign(*seed, *seeds, *out, *replay); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func campaign(seed, seeds uint64, out, replay string) error {
	dir, err := os.MkdirTemp("", "sim")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "sim.test")
	build := exec.Command("go", "test", "-c", "-o", binary, "./internal/sim")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the simulation: %w", err)
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	if replay != "" {
		return again(binary, replay, out)
	}
	began := time.Now()
	c := &crew{binary: binary, out: out, end: seed + seeds, next: seed}
	var all sync.WaitGroup
	for range min(uint64(runtime.NumCPU()), seeds) {
		all.Go(c.work)
	}
	all.Wait()
	took := time.Since(began)
	fmt.Printf("%d schedules from seed %d in %s (%.2f s of processor time each): %d failed\n",
		seeds, seed, took.Round(time.Second), c.cpu.Seconds()/float64(seeds), len(c.failed))
	if len(c.failed) > 0 {
		return fmt.Errorf("failed: %v; each is kept in %s/seed-N, see `make sim-replay DIR=...`", c.failed, out)
	}
	return nil
}

func again(binary, dir, out string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, "-test.run=^TestReplay$", "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), "SIM_REPLAY="+abs, "SIM_OUT="+filepath.Join(out, "again"))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// crew is the workers' common list of seeds.
type crew struct {
	binary, out string
	end         uint64

	mu     sync.Mutex
	next   uint64
	failed []uint64
	cpu    time.Duration
}

// batch is how many seeds a process runs before another one takes over.
const batch = 20

// take gives the next seeds to run.
func (c *crew) take() (from, count uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from = c.next
	count = min(batch, c.end-from)
	c.next += count
	return from, count
}

func (c *crew) work() {
	for {
		from, count := c.take()
		if count == 0 {
			return
		}
		for end := from + count; from < end; {
			from = c.process(from, end-from)
		}
	}
}

// silence is how long a process may say nothing: a schedule takes a second or two.
const silence = 3 * time.Minute

// process runs seeds in one process, and gives the first seed that it did not come to.
func (c *crew) process(from, count uint64) (next uint64) {
	cmd := exec.Command(c.binary, "-test.run=^TestSchedules$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=300", "SIM_SEED="+strconv.FormatUint(from, 10),
		"SIM_SEEDS="+strconv.FormatUint(count, 10), "SIM_OUT="+c.out, "SIM_TELL=1")
	var words bytes.Buffer
	cmd.Stderr = &words
	said, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.fail(from, "the simulation cannot be started: "+err.Error())
		return from + count
	}
	watch := time.AfterFunc(silence, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) }) // it may have ended by now
	running, judged := from, uint64(0)
	for lines := bufio.NewReader(said); ; {
		line, err := lines.ReadString('\n')
		if n, ok := strings.CutPrefix(line, "seed "); ok {
			watch.Reset(silence)
			if s, err := strconv.ParseUint(strings.TrimSpace(n), 10, 64); err == nil {
				running = s
			}
		} else if c.hear(line, running) {
			judged++
		}
		if err != nil {
			break
		}
	}
	watch.Stop()
	err = cmd.Wait()
	c.mu.Lock()
	c.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.mu.Unlock()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() != 1 || strings.Contains(words.String(), "panic:") {
		c.crashed(running, words.Bytes())
		return running + 1
	}
	if judged < running-from+1 { // a schedule that came to no verdict has not passed
		c.fail(running, "the process ended without a verdict on every schedule: "+strings.TrimSpace(words.String()))
		return running + 1
	}
	return running + 1
}

// hear takes what a run says of itself: its verdict, or something else.
func (c *crew) hear(line string, seed uint64) (verdict bool) {
	if text, ok := strings.CutPrefix(line, "failed "); ok {
		c.fail(seed, strings.TrimSpace(text))
		return true
	}
	return strings.HasPrefix(line, "passed ")
}

func (c *crew) fail(seed uint64, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, seed)
	fmt.Printf("seed %d: %s\n", seed, why)
}

// crashed keeps the last words of a process.
func (c *crew) crashed(seed uint64, words []byte) {
	why := "the process ended in the middle"
	if i := bytes.Index(words, []byte("panic:")); i >= 0 {
		line, _, _ := bytes.Cut(words[i:], []byte("\n"))
		why += ": " + string(line)
	}
	c.fail(seed, why)
	path := filepath.Join(c.out, "seed-"+strconv.FormatUint(seed, 10), "crash.txt")
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, words, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the last words of a crash are not kept:", err)
		_, _ = io.Copy(os.Stderr, bytes.NewReader(words))
	}
}

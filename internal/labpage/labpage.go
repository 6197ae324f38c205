// Package labpage is the page of memory by which a lab tells an agent in one of its hosts what is wrong with the host's
// clocks and disk. The lab writes it, the agent reads it wherever it reads a clock or writes its log. An agent outside a lab
// that is told to use one does not start.
package labpage

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// Env names the page's file in the environment of an agent.
	Env = "NIGHTPORTER_LAB_PAGE"
	// Path is where the page is in a lab host, whose /run is its own.
	Path = "/run/nightporter-lab/page"
	// RTCs is what a lab host has in the place of /sys/class/rtc: a clock whose alarm the lab carries out while the host sleeps. The machine's
	// own must not be touched, and could not wake one of its hosts.
	RTCs = "/run/nightporter-lab/rtc"

	size  = 4096
	magic = "nightporter lab 1\n"
)

// Places in the page. The text at 0 is the magic and the name of the host's network namespace, filled up with zeros.
const (
	textSize  = 128
	atSeq     = 128 // even: at rest; it grows by two with every change
	atBoot    = 136 // all that follow are int64 in nanoseconds unless said otherwise
	atMono    = 144
	atWall    = 152
	atDelay   = 160
	atErrno   = 168 // a number of errno
	atMillion = 176 // writes of a million that fail
	atResumes = 184 // a number
)

// Values are what the page says.
type Values struct {
	Boot, Mono, Wall time.Duration // added to the clocks
	DiskDelay        time.Duration // of each write
	DiskErrno        syscall.Errno // of the writes that fail; 0 = none fails
	DiskShare        float64       // of the writes that fail, from 0 to 1
	Resumes          uint64        // the suspends that the host has come back from since it was started
}

// Page is the mapped page. One process writes it, and there is only one writer at a time.
type Page struct {
	mem  []byte
	last atomic.Pointer[whole] // that was read; nil = none was
}

// whole is what the page said between two changes.
type whole struct {
	seq int64
	Values
}

// Create makes the page of a lab host whose network namespace is net ("net:[4026532226]"). It runs on a thread that lives in
// the host.
func Create(path, net string) (*Page, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the lab page: %w", err)
	}
	defer f.Close()
	head := make([]byte, size)
	if n := copy(head[:textSize], magic+net); n < len(magic+net) {
		return nil, fmt.Errorf("make the lab page: the namespace's name %q is too long", net)
	}
	if _, err := f.Write(head); err != nil {
		return nil, fmt.Errorf("make the lab page: %w", err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the lab page: %w", err)
	}
	return &Page{mem: mem}, nil
}

// Open maps the page that the environment names, and gives nil where it names none. It refuses where this process is not
// in the lab host that the page was made for.
func Open(path string) (*Page, error) {
	if path == "" {
		return nil, nil
	}
	p, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("%s is set, but this is not a host of a lab (%w): unset it", Env, err)
	}
	return p, nil
}

func open(path string) (*Page, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, textSize)
	if _, err := f.ReadAt(text, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err := verify(f, text); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &Page{mem: mem}, nil
}

// Close unmaps the page; it must not be used afterwards.
func (p *Page) Close() error {
	if err := unix.Munmap(p.mem); err != nil {
		return fmt.Errorf("unmap the lab page: %w", err)
	}
	return nil
}

func (p *Page) at(offset int) *int64 { return (*int64)(unsafe.Pointer(&p.mem[offset])) }

// Store changes all values at one instant.
func (p *Page) Store(v Values) {
	atomic.AddInt64(p.at(atSeq), 1)
	for _, one := range v.list() {
		atomic.StoreInt64(p.at(one.at), one.value)
	}
	atomic.AddInt64(p.at(atSeq), 1)
}

// loadTries bounds how often a reader meets the writer in the middle of a change, which takes less than a microsecond unless the writer was
// stopped there: for as long as others have its processor, or for ever.
const loadTries = 1 << 20

// Load gives the values as they were at one instant: before a change that does not come to its end.
func (p *Page) Load() Values {
	for range loadTries {
		seq := atomic.LoadInt64(p.at(atSeq))
		v := p.load()
		if seq&1 != 0 || atomic.LoadInt64(p.at(atSeq)) != seq {
			continue
		}
		for known := p.last.Load(); known == nil || known.seq < seq; known = p.last.Load() {
			if p.last.CompareAndSwap(known, &whole{seq, v}) {
				break
			}
		}
		return v
	}
	if known := p.last.Load(); known != nil {
		return known.Values
	}
	return Values{} // as in the beginning
}

func (p *Page) load() Values {
	get := func(offset int) time.Duration { return time.Duration(atomic.LoadInt64(p.at(offset))) }
	return Values{
		Boot: get(atBoot), Mono: get(atMono), Wall: get(atWall), DiskDelay: get(atDelay),
		DiskErrno: syscall.Errno(get(atErrno)), DiskShare: float64(get(atMillion)) / 1e6,
		Resumes: uint64(get(atResumes)),
	}
}

type entry struct {
	at    int
	value int64
}

func (v Values) list() []entry {
	return []entry{
		{atBoot, int64(v.Boot)},
		{atMono, int64(v.Mono)},
		{atWall, int64(v.Wall)},
		{atDelay, int64(v.DiskDelay)},
		{atErrno, int64(v.DiskErrno)},
		{atMillion, int64(v.DiskShare * 1e6)},
		{atResumes, int64(v.Resumes)},
	}
}

// Write draws the fate of one write to the disk: how much longer it takes, and its error, 0 for none.
func (p *Page) Write() (time.Duration, syscall.Errno) {
	v := p.Load()
	if v.DiskErrno != 0 && rand.Float64() >= v.DiskShare {
		v.DiskErrno = 0
	}
	return v.DiskDelay, v.DiskErrno
}

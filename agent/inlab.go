package agent

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"nightporter/cluster"
	"nightporter/identity"
	"nightporter/internal/labpage"
	"nightporter/lease"
	"nightporter/wake"
)

// inLab makes the outside world of an agent in a lab host: the clocks and the disk have the faults that the page says.
// Everything else is as anywhere. The page stays mapped for as long as the process lives.
func inLab(d Deps, page *labpage.Page) Deps {
	d.Clock = labClock{d.Clock, page}
	d.Kernel = labKernel{d.Kernel, page}
	d.Disk = labDisk{d.Disk, page}
	d.Falls = time.Second // it is frozen at once
	d.Power = labPower{d.Power, page, &wake.RTC{Root: labpage.RTCs}}
	return d
}

// labClock reads clocks that the lab has put wrong.
type labClock struct {
	Clock
	page *labpage.Page
}

func (c labClock) Boot() lease.Boot { return c.Clock.Boot() + lease.Boot(c.page.Load().Boot) }

func (c labClock) Both() (lease.Boot, time.Duration) {
	v := c.page.Load()
	boot, mono := c.Clock.Both()
	return boot + lease.Boot(v.Boot), mono + v.Mono
}

func (c labClock) Wall() time.Time { return c.Clock.Wall().Add(c.page.Load().Wall) }

// labKernel translates deadlines: the kernel's fence knows nothing of the lab and takes true CLOCK_BOOTTIME.
type labKernel struct {
	Kernel
	page *labpage.Page
}

func (k labKernel) Prepare(s identity.Spec) (Hold, error) {
	h, err := k.Kernel.Prepare(s)
	if err != nil {
		return nil, err
	}
	return labHold{h, k.page}, nil
}

func (k labKernel) Adopt(l identity.Heirloom) (Hold, error) {
	h, err := k.Kernel.Adopt(l)
	if err != nil {
		return nil, err
	}
	return labHold{h, k.page}, nil
}

type labHold struct {
	Hold
	page *labpage.Page
}

func (h labHold) Open(deadline time.Duration, generation uint64) error {
	return h.Hold.Open(h.kernelTime(deadline), generation)
}

func (h labHold) Extend(deadline time.Duration) error { return h.Hold.Extend(h.kernelTime(deadline)) }

func (h labHold) kernelTime(deadline time.Duration) time.Duration {
	return deadline - h.page.Load().Boot
}

// labPower counts the suspends of the lab's host: the kernel counts those of the machine that all of them are on.
// Its alarm is the host's own, too: a directory that looks like the kernel's, which the lab reads when the host falls asleep.
type labPower struct {
	Power
	page *labpage.Page
	rtc  *wake.RTC
}

func (p labPower) SetAlarm(in time.Duration) error {
	return systemPower{rtc: p.rtc}.SetAlarm(in)
}

func (p labPower) AlarmTrouble() string { return p.rtc.Trouble() }

func (p labPower) Resumes() (n uint64, counted bool) { return p.page.Load().Resumes, true }

// Refusals are none: what the kernel keeps is the machine's.
func (p labPower) Refusals() wake.Refusals { return wake.Refusals{} }

// Sources are those of the machine that all of them are on.
func (p labPower) Sources() map[string]uint64 { return nil }

// labDisk is a disk whose writes of the cluster's log are slow or fail.
type labDisk struct {
	Disk
	page *labpage.Page
}

func (d labDisk) Stores(c *cluster.RaftConfig) error {
	if err := d.Disk.Stores(c); err != nil {
		return err
	}
	c.Stores.Log = labLog{c.Stores.Log, d.page}
	c.Stores.Stable = labStable{c.Stores.Stable, d.page}
	return nil
}

// labWrite waits as long as the disk needs longer, and gives the error of a write that fails.
func labWrite(page *labpage.Page, what string) error {
	delay, errno := page.Write()
	time.Sleep(delay)
	if errno != 0 {
		return fmt.Errorf("%s: %w", what, errno)
	}
	return nil
}

// labLog is the log store on a labDisk.
type labLog struct {
	raft.LogStore
	page *labpage.Page
}

func (l labLog) StoreLog(one *raft.Log) error { return l.StoreLogs([]*raft.Log{one}) }

func (l labLog) StoreLogs(logs []*raft.Log) error {
	if err := labWrite(l.page, "write the log"); err != nil {
		return err
	}
	return l.LogStore.StoreLogs(logs)
}

func (l labLog) DeleteRange(from, to uint64) error {
	if err := labWrite(l.page, "shorten the log"); err != nil {
		return err
	}
	return l.LogStore.DeleteRange(from, to)
}

// labStable is the stable store on a labDisk.
type labStable struct {
	raft.StableStore
	page *labpage.Page
}

func (s labStable) Set(key, value []byte) error {
	if err := labWrite(s.page, "write "+string(key)); err != nil {
		return err
	}
	return s.StableStore.Set(key, value)
}

func (s labStable) SetUint64(key []byte, value uint64) error {
	if err := labWrite(s.page, "write "+string(key)); err != nil {
		return err
	}
	return s.StableStore.SetUint64(key, value)
}

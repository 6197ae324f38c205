package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"nightporter/api"
	"nightporter/cluster"
	"nightporter/config"
	"nightporter/doctor"
	"nightporter/front"
	"nightporter/fsm"
	"nightporter/health"
	"nightporter/identity"
	"nightporter/internal/labpage"
	"nightporter/lease"
	"nightporter/wake"
)

// System is the real outside world: this host's clocks, kernel, network, disk and power. waits is called before whatever may wait in the
// kernel for milliseconds, and what it returns after.
func System(cfg *config.Config, version string, waits func() (end func()), log *slog.Logger) (Deps, error) {
	page, err := labpage.Open(os.Getenv(labpage.Env))
	if err != nil {
		return Deps{}, err
	}
	caller, err := wake.NewCaller(cfg.Interface)
	if err != nil {
		return Deps{}, err
	}
	disk := newSystemDisk(cfg.DataDir, cfg.RunDir)
	disk.waits = waits
	// Before anything of another agent on this host, or of this process's former life, is touched. Run gives it back.
	if disk.lock, err = disk.Lock(); err != nil {
		return Deps{}, errors.Join(err, caller.Close())
	}
	disk.self = life{Cluster: cfg.Cluster, Node: cfg.Node, Interface: cfg.Interface}
	if err := disk.keepFormer(); err != nil { // the disk has its own sentences when the agent needs it
		log.Debug("the former settings of this host are not kept: `nightporter purge` cannot put them back", "err", err)
	}
	former := disk.inherit(log)
	host, err := identity.NewHost(cfg.Interface, fenceForm(cfg.Fence), former.kernel(), log)
	if err != nil {
		return Deps{}, errors.Join(err, caller.Close(), disk.lock.Close())
	}
	host.Waits = waits
	deps := Deps{
		Version: version, Log: log, Clock: systemClock{}, Kernel: systemKernel{host}, Caller: caller, Reach: systemReach{}, Uses: systemUses, WakeTimes: systemWakeTimes(cfg), Net: systemNet{},
		Power: systemPower{cfg: cfg, suspender: wake.Suspender{Command: cfg.SuspendCommand}, mem: &wake.MemSleep{}, rtc: &wake.RTC{Root: wake.RTCs}}, Logind: systemLogind{},
		Disk: disk, Former: former, Checks: systemChecks{dir: cfg.ChecksDir},
		Listen: func(link string, g wake.Guard, on func(wake.Demand)) (io.Closer, error) {
			l, err := wake.Listen(link, g, on)
			if err != nil {
				return nil, err
			}
			return closeFunc(func() error {
				defer waits()()
				return l.Close()
			}), nil
		},
		Web:   systemWeb,
		Front: func(d front.Desk) (Front, error) { return front.Open(d, cfg.WakeTimeout, log) },
		Examine: func(ctx context.Context, status api.Status, test bool) api.DoctorNode {
			return doctor.Examine(ctx, doctor.Host{Version: version, Path: cfg.File, Config: cfg, Status: &status, Sleeps: CannotSleep, Test: test})
		},
		Ready: func(state string) {
			if _, err := daemon.SdNotify(false, state); err != nil {
				log.Debug("the service manager was not told", "state", state, "err", err)
			}
		},
	}
	deps.Post = systemWebhook(cfg.Webhook, version)
	deps.Hooks = systemHooks{dir: cfg.ChecksDir, kept: filepath.Join(cfg.DataDir, "hooks.json")}
	deps.Watchdog, err = daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager's watchdog is not told that this agent is alive", "err", err)
	}
	if cfg.WakeHook != "" {
		deps.Hook = func(ctx context.Context, env []string) error {
			return health.Exec(ctx, cfg.ChecksDir, cfg.WakeHook, env)
		}
	}
	if cfg.Power == config.Sleeps && cfg.Idle > 0 {
		deps.Senses = newSystemSenses(cfg)
	}
	if page != nil {
		deps = inLab(deps, page)
	}
	return deps, nil
}

func fenceForm(f config.Fence) identity.Form {
	switch f {
	case config.FenceRequired:
		return identity.Exact
	case config.FenceNFTables:
		return identity.NFTables
	}
	return identity.Best
}

// systemClock reads the kernel's clocks.
type systemClock struct{}

func (systemClock) Boot() lease.Boot { return lease.Boot(wake.BootTime()) }

func (systemClock) Both() (lease.Boot, time.Duration) {
	boot, mono := wake.Clocks()
	return lease.Boot(boot), mono
}

func (systemClock) Wall() time.Time { return time.Now().UTC() }

func (systemClock) Sight() lease.Sight {
	before, mono, after := wake.Unbent()
	return lease.Sight{Before: before, Mono: mono, After: after}
}

// systemKernel is identity.Host with its Hold as an interface.
type systemKernel struct{ *identity.Host }

func (k systemKernel) Prepare(s identity.Spec) (Hold, error) {
	h, err := k.Host.Prepare(s)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Adopt is identity.Host's.
func (k systemKernel) Adopt(l identity.Heirloom) (Hold, error) {
	h, err := k.Host.Adopt(l)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// systemPower suspends by command and reads the network card.
type systemPower struct {
	cfg       *config.Config
	suspender wake.Suspender
	rtc       *wake.RTC
	mem       *wake.MemSleep
}

// Arm makes sure that a magic packet will wake this host.
// Sources implements Power.
func (systemPower) Sources() map[string]uint64 { return wake.Sources() }

func (p systemPower) Arm() error {
	if p.cfg.WoL == config.WoLAssumed {
		return nil
	}
	if err := wake.Arm(p.cfg.Interface, p.cfg.WoLPassword); err != nil {
		return fmt.Errorf("its network card cannot be armed for Wake-on-LAN (set wol: assumed for a card that wakes all the same): %w", err)
	}
	return nil
}

// WakeFacts arms the cards, and tells what waking this host depends on.
func (p systemPower) WakeFacts() (WakeFacts, error) {
	var facts WakeFacts
	if err := p.Arm(); err != nil {
		facts.Unarmed = err.Error()
	}
	cards, err := wake.Cards(p.cfg.Interface)
	if err != nil {
		return WakeFacts{}, err
	}
	for i, c := range cards {
		facts.Traits = append(facts.Traits, fsm.Trait{Name: fmt.Sprintf("card %d", i+1), Value: c.String()})
	}
	facts.Traits = append(facts.Traits, fsm.Trait{Name: "kernel", Value: wake.Kernel()})
	if mode := p.sleepMode(); mode != "" {
		facts.Traits = append(facts.Traits, fsm.Trait{Name: "sleep mode", Value: mode})
	}
	return facts, nil
}

// SetAlarm sets the alarm of the real-time clock.
func (p systemPower) SetAlarm(in time.Duration) error {
	if in == 0 {
		return p.rtc.Clear()
	}
	return p.rtc.Set(in)
}

// AlarmTrouble looks for the clock.
func (p systemPower) AlarmTrouble() string { return p.rtc.Trouble() }

// Resumes reads the kernel's own count.
func (p systemPower) Resumes() (uint64, bool) { return wake.Resumes() }

// Refusals reads the kernel's own record.
func (p systemPower) Refusals() wake.Refusals { return wake.ReadRefusals() }

// Halfway asks whether systemd is at a sleep of two halves.
func (p systemPower) Halfway() bool { return wake.Halfway() }

func (p systemPower) WakeAddresses() ([]net.HardwareAddr, error) {
	return wake.Addresses(p.cfg.Interface)
}

// systemNet is memberlist over UDP and TCP, TLS over TCP, and the admin socket.
type systemNet struct{}

func (systemNet) Local(socket, group string) (net.Listener, error) { return api.Listen(socket, group) }

func (systemNet) Gossip(c cluster.GossipConfig) (*cluster.Gossip, error) {
	return cluster.StartGossip(c)
}

func (systemNet) Peers(bind netip.AddrPort, id *cluster.Identity, dir cluster.Directory, log *slog.Logger) (Peers, error) {
	return cluster.Listen(bind, id, dir, log)
}

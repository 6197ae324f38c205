//go:build vm

package vm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A RealTek 8139C+ has the wake on magic packets in its register Config3. QEMU's keeps what the driver writes there, and does nothing with it.
const (
	config3     = 0x59
	magicPacket = 0x20
)

var (
	registers = regexp.MustCompile(`PCI device 10ec:8139[^$]*?BAR1: 32 bit memory at (0x[0-9a-f]+)`)
	octet     = regexp.MustCompile(`: (0x[0-9a-f]{2})\s*$`)
)

// realtekArmed reads the register.
func realtekArmed(ctx context.Context, m *monitor) (bool, error) {
	bus, err := m.look(ctx, "info pci")
	if err != nil {
		return false, err
	}
	at := registers.FindStringSubmatch(bus)
	if at == nil {
		return false, fmt.Errorf("QEMU tells of no 8139 with registers in memory: %s", bus)
	}
	base, err := strconv.ParseUint(at[1], 0, 64)
	if err != nil {
		return false, err
	}
	text, err := m.look(ctx, fmt.Sprintf("xp /1xb %#x", base+config3))
	if err != nil {
		return false, err
	}
	value := octet.FindStringSubmatch(text)
	if value == nil {
		return false, fmt.Errorf("QEMU shows the register as %q", text)
	}
	bits, err := strconv.ParseUint(value[1], 0, 8)
	return bits&magicPacket != 0, err
}

// QEMU does not notice a suspend to idle: its machine runs, and waits for an interrupt. What the kernel says at its beginning and its end stands for QEMU's
// events. A kernel says so with the options pm_debug_messages and loglevel=8.
const (
	toIdle   = "PM: suspend-to-idle"
	fromIdle = "PM: resume from suspend-to-idle"
)

// watchConsole passes on what the kernel says of that, until ctx ends.
func watchConsole(ctx context.Context, path string, events func(event)) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the machine's console: %w", err)
	}
	defer f.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	half := ""
	for in := bufio.NewReader(f); ; {
		line, err := in.ReadString('\n')
		half += line
		if err == nil {
			for _, name := range []string{toIdle, fromIdle} {
				if strings.HasSuffix(strings.TrimSpace(half), "] "+name) {
					events(event{name, time.Now()})
				}
			}
			half = ""
			continue
		}
		select { // the end for now
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

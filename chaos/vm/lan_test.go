//go:build vm

package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// home is a household's LAN: a switch, in a network namespace of its own, that machines are plugged into; the namespace itself is a client.
type home struct {
	dir    string
	keeper *exec.Cmd
}

// clientAddr is the client's.
const clientAddr = "192.168.1.99/24"

const switchScript = `
set -e
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
ip link set lo up
ip link add br0 type bridge forward_delay 0 mcast_snooping 0
ip addr add ` + clientAddr + ` dev br0
ip link set br0 up
echo up
exec sleep infinity
`

func newHome(dir string) (*home, error) {
	h := &home{dir: dir, keeper: exec.Command("unshare", "--net", "--mount", "bash", "-c", "mount --make-rprivate / && mount -t sysfs sysfs /sys\n"+switchScript)}
	h.keeper.Stderr = os.Stderr
	out, err := h.keeper.StdoutPipe()
	if err == nil {
		err = h.keeper.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("make the LAN: %w", err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		return nil, errors.Join(fmt.Errorf("the LAN did not come up: %w", err), h.close())
	}
	return h, nil
}

func (h *home) close() error {
	if err := h.keeper.Process.Kill(); err != nil {
		return err
	}
	_ = h.keeper.Wait() // it was killed
	return nil
}

// command is one that runs on the LAN.
func (h *home) command(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--target", fmt.Sprint(h.keeper.Process.Pid), "--net", "--"}, argv...)...)
}

// socket hears every frame on the LAN. A thread that has been in another namespace ends with its goroutine.
func (h *home) socket() (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened)
	go func() {
		runtime.LockOSThread()
		f, err := func() (*os.File, error) {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.keeper.Process.Pid))
			if err != nil {
				return nil, err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("enter the LAN: %w", err)
			}
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			return os.NewFile(uintptr(fd), "LAN"), nil
		}()
		done <- opened{f, err}
	}()
	o := <-done
	return o.f, o.err
}

// appliance is a virtual machine that stands in for one of the household.
type appliance struct {
	machine
	name    string
	mac     net.HardwareAddr
	dir     string
	monitor *monitor
	shell   *shell
	nic     *nic
	stop    []func()
	ended   error
}

// A kernel checks at its start that its timer ticks, and panics if not; an emulated one may get no processor time meanwhile (no_timer_check).
const bootScript = `
set -e
dir=$1 name=$2 kernel=$3 options=$4 card=$5
shift 5
ip tuntap add dev $name mode tap
ip link set $name master br0 up
exec qemu-system-x86_64 -machine pc -accel tcg,thread=multi -cpu qemu64 -smp 1 -m 1024 -nodefaults -display none -no-reboot \
	-kernel "$kernel" -initrd "$dir/guest.cpio" -append "console=ttyS0 net.ifnames=0 no_timer_check panic=-1 no_console_suspend systemd.show_status=false $options" \
	-serial "file:$dir/console.log" -serial "unix:$dir/shell.sock,server=on,wait=off" -qmp "unix:$dir/qmp.sock,server=on,wait=off" \
	-netdev tap,id=net0,ifname=$name,script=no,downscript=no -device "$card" "$@" >"$dir/qemu.log" 2>&1
`

// switchOn starts it, and what is about it.
func (a *appliance) switchOn(ctx context.Context, h *home) error {
	run, cancel := context.WithCancel(context.Background())
	cmd := h.command(run, append([]string{"bash", "-c", bootScript, "machine", a.dir, a.name}, a.words(a.mac)...)...)
	if err := cmd.Start(); err != nil {
		cancel()
		return err
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := cmd.Wait(); run.Err() == nil {
			a.ended = fmt.Errorf("the machine %s ended (%v)", a.name, err)
		}
	})
	a.stop = append(a.stop, func() { cancel(); wait.Wait() })
	sock, err := h.socket()
	if err != nil {
		return fmt.Errorf("listen for magic packets: %w", err)
	}
	if a.nic, err = nicOn(sock, a.mac); err != nil {
		return err
	}
	if a.monitor, err = watchMachine(ctx, filepath.Join(a.dir, "qmp.sock"), a.nic.note); err != nil {
		return errors.Join(err, sock.Close())
	}
	a.nic.monitor, a.nic.armed = a.monitor, a.armed
	go a.nic.listen(run)
	a.stop = append(a.stop, a.nic.close, a.monitor.close)
	if a.shell, err = openShell(ctx, filepath.Join(a.dir, "shell.sock")); err != nil {
		return err
	}
	a.stop = append(a.stop, a.shell.close)
	return nil
}

func (a *appliance) switchOff() {
	for _, f := range a.stop {
		f()
	}
}

// plug puts its cable in or pulls it.
func (a *appliance) plug(ctx context.Context, in bool) error {
	_, err := a.monitor.ask(ctx, "set_link", fmt.Sprintf(`{"execute": "set_link", "arguments": {"name": "net0", "up": %v}}`, in))
	return err
}

// furnishAppliance writes its initial RAM disk: Debian, and the given files.
func (a *appliance) furnish(system string, files map[string]string, links map[string]string) error {
	tree := filepath.Join(a.dir, "tree")
	var err error
	for name, body := range files {
		mode := os.FileMode(0o644)
		if strings.Contains(name, "id_ed25519") || strings.Contains(name, "sudoers.d") {
			mode = 0o600
		}
		err = errors.Join(err, write(filepath.Join(tree, name), body, mode))
	}
	for name, target := range links {
		err = errors.Join(err, os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755), os.Symlink(target, filepath.Join(tree, name)))
	}
	if err != nil {
		return fmt.Errorf("furnish %s: %w", a.name, err)
	}
	return pack(a.dir, tree, system, a.archives)
}

// since is for the log.
func since(t time.Time) time.Duration { return time.Since(t).Round(100 * time.Millisecond) }

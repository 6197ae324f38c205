//go:build vm

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"nightporter/chaos/lab"
)

// self is what the guest's server calls itself. The lab's own server at the guest's place has the name of the host.
const self = "guest"

// systemDir names the directory of vmlinuz and root.cpio (make vm-test).
const systemDir = "NIGHTPORTER_VM_SYSTEM"

// plugIn is run in the place of the host h3. Its card becomes the machine's cable: a bridge joins the two, and nothing of the place's own speaks
// there. The machine has the address of the card that the lab made, which therefore gets another one.
const plugIn = `
set -e
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
ip addr flush dev eth0
ip link set eth0 down
ip link set eth0 address 02:4e:50:fe:00:03
ip link add br0 type bridge forward_delay 0 mcast_snooping 0
ip tuntap add dev tap0 mode tap
ip link set eth0 master br0
ip link set tap0 master br0
for l in eth0 tap0 br0; do ip link set $l up; done
dir=$1 system=$2 mac=$3
exec qemu-system-x86_64 -machine pc -accel tcg,thread=multi -cpu qemu64 -smp 1 -m 1024 -nodefaults -display none -no-reboot \
	-kernel "$system/vmlinuz" -initrd "$dir/guest.cpio" -append "console=ttyS0 net.ifnames=0 panic=-1 no_console_suspend systemd.show_status=false" \
	-serial "file:$dir/console.log" -serial "unix:$dir/shell.sock,server=on,wait=off" -qmp "unix:$dir/qmp.sock,server=on,wait=off" \
	-netdev tap,id=net0,ifname=tap0,script=no,downscript=no -device "virtio-net-pci,netdev=net0,mac=$mac" >"$dir/qemu.log" 2>&1
`

// The guest's own files beside those that make install puts there.
var guestFiles = map[string]string{
	"etc/hostname":   "h3\n",
	"etc/machine-id": "6e69676874706f72746572000000000a\n",
	"etc/fstab":      "",
	"etc/systemd/network/10-lan.network": `[Match]
Name=eth0
[Network]
Address=10.77.0.13/24
Address=fd77::13/64
`,
	// As the agent advises where a failover is as long as here, and a key that suspends.
	"etc/systemd/logind.conf.d/nightporter.conf": "[Login]\nInhibitDelayMaxSec=30s\nHandlePowerKey=suspend\n",
	"etc/systemd/system/web.service": `[Service]
ExecStart=/usr/local/bin/nightporter lab serve --name ` + self + ` --port 8080
`,
	"etc/systemd/system/shell.service": `[Service]
ExecStart=/bin/bash -c 'stty -echo; echo ` + shellReady + `; while IFS= read -r line; do eval "$$line"; done'
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
Environment=HOME=/root LANG=C.UTF-8 TERM=dumb SYSTEMD_PAGER=cat
Restart=always
`,
}

// enabled are the units of these that the guest starts by itself, and where they are.
var enabled = map[string]string{
	"nightporter.service": "/usr/local/lib/systemd/system/nightporter.service",
	"web.service":         "/etc/systemd/system/web.service",
	"shell.service":       "/etc/systemd/system/shell.service",
}

// furnish writes the guest's initial RAM disk into the directory of its place: Debian, what `make install` installs, and the configuration.
func furnish(ctx context.Context, l *lab.Lab, place *lab.Host, system, idle string) error {
	tree := filepath.Join(place.Dir(), "tree")
	install := exec.CommandContext(ctx, "make", "-s", "install", "DESTDIR="+tree)
	install.Dir = filepath.Join("..", "..")
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("make install DESTDIR=%s: %w\n%s", tree, err, out)
	}
	text, err := guestConfig(l, idle)
	if err != nil {
		return err
	}
	secret, err := os.ReadFile(filepath.Join(l.Dir(), "secret"))
	if err != nil {
		return fmt.Errorf("read the lab's secret: %w", err)
	}
	for name, body := range guestFiles {
		err = errors.Join(err, write(filepath.Join(tree, name), body, 0o644))
	}
	err = errors.Join(err, write(filepath.Join(tree, "etc/nightporter/secret"), string(secret), 0o600),
		write(filepath.Join(tree, "etc/nightporter/nightporter.yaml"), text, 0o644))
	wants := filepath.Join(tree, "etc/systemd/system/multi-user.target.wants")
	err = errors.Join(err, os.MkdirAll(wants, 0o755))
	for unit, at := range enabled {
		err = errors.Join(err, os.Symlink(at, filepath.Join(wants, unit)))
	}
	if err != nil {
		return fmt.Errorf("furnish the guest: %w", err)
	}
	own, err := archive(tree)
	if err != nil {
		return err
	}
	debian, err := os.ReadFile(filepath.Join(system, "root.cpio"))
	if err != nil {
		return fmt.Errorf("read the guest's Debian; `make vm-test` makes it: %w", err)
	}
	return os.WriteFile(filepath.Join(place.Dir(), "guest.cpio"), append(debian, own...), 0o600)
}

func write(path, body string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(body), mode)
}

// guestConfig is the file of the lab without what only a lab has: places on this machine, and its suspend command. So the guest has the default
// ones: /var/lib/nightporter, and `systemctl suspend`.
func guestConfig(l *lab.Lab, idle string) (string, error) {
	body, err := os.ReadFile(filepath.Join(l.Dir(), "nightporter.yaml"))
	if err != nil {
		return "", fmt.Errorf("read the lab's configuration: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(body)) {
		switch key, _, _ := strings.Cut(strings.TrimSpace(line), ":"); key {
		case "data_dir", "checks_dir", "suspend_command":
			continue
		case "secret_file":
			line = "secret_file: /etc/nightporter/secret\n"
		case "power":
			if strings.Contains(line, "sleeps") { // the guest alone
				line += "    idle: " + idle + "\n    stay_awake: {load: 0, network: 0}\n"
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, ""), nil
}

//go:build vm

package vm

import (
	"context"
	"net"
	"path/filepath"
	"time"
)

// machine is what a virtual machine is made of.
type machine struct {
	kernel    string   // in the directory of the guest's Debian
	archives  []string // there too: its initial RAM disk, before its own files
	options   string   // for its kernel
	card      string   // QEMU's name of its network card
	cards     []string // of further ones, which no cable goes into
	files     map[string]string
	idle      time.Duration                                       // 0 = as the others
	stayAwake string                                              // further keys of its configuration's stay_awake
	drop      []string                                            // keys that its configuration does not have
	program   bool                                                // this very program is in it
	awake     bool                                                // something keeps it awake from its start on, until `systemctl stop stay`
	armed     func(ctx context.Context, m *monitor) (bool, error) // whether its card wakes it; nil = nobody can tell
}

// words are those of plugIn but the first.
func (m machine) words(mac net.HardwareAddr) []string {
	out := []string{filepath.Join(system, m.kernel), m.options, m.card + ",netdev=net0,mac=" + mac.String()}
	for _, c := range m.cards {
		out = append(out, "-device", c)
	}
	return out
}

// plain is a machine with the kernel for clouds and their card. No wake setting of such a card can be looked at, and its stand-in is always armed.
var plain = machine{kernel: "vmlinuz", archives: []string{"root.cpio"}, card: "virtio-net-pci"}

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
dir=$1 kernel=$2 options=$3 card=$4
shift 4
exec qemu-system-x86_64 -machine pc -accel tcg,thread=multi -cpu qemu64 -smp 1 -m 1280 -nodefaults -display none -no-reboot \
	-kernel "$kernel" -initrd "$dir/guest.cpio" -append "console=ttyS0 net.ifnames=0 panic=-1 no_console_suspend systemd.show_status=false $options" \
	-serial "file:$dir/console.log" -serial "unix:$dir/shell.sock,server=on,wait=off" -qmp "unix:$dir/qmp.sock,server=on,wait=off" \
	-netdev tap,id=net0,ifname=tap0,script=no,downscript=no -device "$card" "$@" >"$dir/qemu.log" 2>&1
`

//go:build vm

package vm

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"nightporter/wake"
)

// card is one that QEMU emulates beside the one on the cable, and what comes of arming it.
type card struct {
	device, driver string
	wants          string // in the error; "" = it can be armed
}

// cardsTried are all of QEMU 7.2 whose drivers know Wake-on-LAN, and some that do not. Whether the driver offers it is what it reads from the emulated card, and
// from the kernel's PCI bus.
var cardsTried = []card{
	{"i82551", "e100", ""},
	{"i82559er", "e100", ""},
	{"i82801", "e100", ""},
	{"vmxnet3", "vmxnet3", ""},
	{"e1000e", "e1000e", "cannot wake on a magic packet"}, // its NVM says that it is not wired for that
	{"tulip", "tulip", "cannot wake on a magic packet"},
	{"e1000", "e1000", "no network card with Wake-on-LAN"}, // no PME# from its PCI function
	{"pcnet", "pcnet32", "no network card with Wake-on-LAN"},
	{"virtio-net-pci", "virtio_net", "no network card with Wake-on-LAN"},
}

func otherCards() (out []string) {
	for _, c := range cardsTried {
		out = append(out, c.device)
	}
	return out
}

// otherDrivers are loaded when they are wanted, so that the card on the cable is eth0.
func otherDrivers() (out []string) {
	for _, c := range cardsTried {
		out = append(out, c.driver)
	}
	return out
}

// cardsProgram is this very program, in the guest.
const cardsProgram = "usr/local/bin/cards"

// cardsAsked has it arm the cards of the guest, and nothing else.
const cardsAsked = "NIGHTPORTER_VM_CARDS"

func copyProgram(to string) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return write(to, string(body), 0o755)
}

// armed is what came of one card.
type armed struct {
	Name, Driver string
	Err          string // of Arm
	wake.Arming
}

// armCards arms each card, as the agent does before a suspend, and tells of it.
func armCards(out io.Writer, names []string) error {
	for _, name := range names {
		var a armed
		a.Name = name
		cards, err := wake.Cards(name)
		if err != nil {
			return err
		}
		for _, c := range cards {
			a.Driver += c.Driver
		}
		if err := wake.Arm(name, nil); err != nil {
			a.Err = err.Error()
		}
		if a.Arming, err = wake.ReadArming(name); err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(a); err != nil {
			return err
		}
	}
	return nil
}

// everyCard has the code that arms cards meet other drivers than the one that the host has its network by.
func (w *world) everyCard() {
	w.Helper()
	_, err := w.shell.run(w.limit(), "modprobe -a "+strings.Join(otherDrivers(), " ")+"; udevadm settle")
	w.must(err)
	out, err := w.shell.run(w.limit(), "cd /sys/class/net; for n in eth*; do [ $n = eth0 ] || set -- \"$@\" $n; done; "+cardsAsked+"=1 /"+cardsProgram+" \"$@\"")
	w.must(err)
	seen := map[string]int{}
	for line := range strings.Lines(out) {
		var a armed
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			w.Fatalf("%v: %s", err, out)
		}
		seen[a.Driver]++
		for _, c := range cardsTried {
			if c.driver != a.Driver {
				continue
			}
			if can := c.wants == ""; can != (a.Err == "") || can != a.Armed || !strings.Contains(a.Err, c.wants) {
				w.Errorf("%s by %s: %+v, want %q", a.Name, a.Driver, a, c.wants)
			}
			break
		}
		w.Logf("a card by the driver %s: armed %v, modes %q, %s", a.Driver, a.Armed, a.Modes, a.Err)
	}
	for _, c := range cardsTried {
		if seen[c.driver]--; seen[c.driver] < 0 {
			w.Errorf("no card by the driver %s was armed: %s", c.driver, out)
		}
	}
}

// stacks makes links on top of each other, by the guest's own kernel: a bond of the card by vmxnet3, a VLAN on it, a bridge on that, and a macvlan on the bridge; and
// a VLAN on a card by e100, which does not go into a bond: it comes up with firmware only, that no free Debian has.
var stacks = "( set -e; " + strings.Join([]string{
	"card() { for n in /sys/class/net/eth*; do case $(readlink $n/device/driver) in */$1) echo ${n##*/}; break;; esac; done; }",
	"a=$(card vmxnet3); b=$(card e100)",
	"ip link add bond7 type bond mode active-backup; ip link set $a down; ip link set $a master bond7",
	"ip link add link bond7 name bond7.5 type vlan id 5",
	"ip link add br7 type bridge; ip link set bond7.5 master br7",
	"ip link add link br7 name svc7 type macvlan mode bridge",
	"ip link add link $b name vlan7 type vlan id 6",
	"echo $a $b",
}, "; ") + " )"

// stacked arms the cards beneath these. Whether they are armed is what the guest's ethtool says of each.
func (w *world) stacked() {
	w.Helper()
	out, err := w.shell.run(w.limit(), stacks)
	w.must(err)
	cards := strings.Fields(out[strings.LastIndex(out, "\n")+1:])
	if len(cards) != 2 {
		w.Fatalf("these are no two cards: %s", out)
	}
	each := func(command string) string {
		w.Helper()
		out, err := w.shell.run(w.limit(), "for n in "+strings.Join(cards, " ")+"; do "+command+"; done")
		w.must(err)
		return strings.Join(strings.Fields(out), "")
	}
	const modes = "ethtool $n | sed -n '/Supports/!s/.*Wake-on: //p'"
	for _, c := range []struct{ top, want string }{{"bond7", "gd"}, {"bond7.5", "gd"}, {"br7", "gd"}, {"svc7", "gd"}, {"vlan7", "dg"}} {
		each("ethtool -s $n wol d")
		if got := each(modes); got != "dd" {
			w.Fatalf("the cards are not disarmed: %s", got)
		}
		out, err := w.shell.run(w.limit(), cardsAsked+"=1 /"+cardsProgram+" "+c.top)
		w.must(err)
		var a armed
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			w.Fatalf("%v: %s", err, out)
		}
		got := each(modes)
		if a.Err != "" || !a.Armed || got != c.want {
			w.Errorf("beneath %s the cards %v are armed %s, want %s: %+v", c.top, cards, got, c.want, a)
		}
		w.Logf("beneath %s: armed %v by %s, the cards %v have %s", c.top, a.Armed, a.Driver, cards, got)
	}
}

// guestProgram does the guest's part where this program runs in one.
func guestProgram() {
	if os.Getenv(cardsAsked) == "" {
		return
	}
	if err := armCards(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

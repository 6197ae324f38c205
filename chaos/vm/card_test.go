//go:build vm

package vm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nightporter/api"
)

// withCard is a machine whose card has Wake-on-LAN, by its driver and by its register. Nothing of the laboratory's settings about that is left to
// it: it looks at its card, and has to show that it can be woken.
var withCard = machine{
	kernel: "vmlinuz-cards", archives: []string{"root.cpio", "cards.cpio"}, options: "pm_debug_messages loglevel=8",
	card: "rtl8139", cards: otherCards(), drop: []string{"wol", "canary"}, program: true, awake: true, armed: realtekArmed,
	files: map[string]string{
		// The key is what wakes it from s2idle. One that is pressed while it is still on its way down is to do nothing else.
		"etc/systemd/logind.conf.d/nightporter.conf": "[Login]\nInhibitDelayMaxSec=30s\nHandlePowerKey=ignore\n",
		"etc/modprobe.d/cards.conf":                  "blacklist " + strings.Join(otherDrivers(), "\nblacklist ") + "\n",
	},
}

// A new host with a real driver: its agent arms the card, it is put through its canary by itself, and may sleep then; it sleeps in another way, and
// what is taken from the card, or refused by the kernel, is noticed.
func TestACardThatCanBeArmed(t *testing.T) {
	w := build(t, withCard)
	w.sound()
	w.newHost()
	w.firstCanary()
	w.disarmed()
	w.deaf()
	w.kernelRefuses()
	w.unitFails()
	w.drifts()
	w.password()
	w.everyCard()
	w.stacked()
	w.judge(17) // the first turn; away and back in two canaries, three stories, the control, and the two suspends that came to nothing
}

// fitness waits until an always-on host tells of the machine what is wanted.
func (w *world) fitness(what string, is func(api.WakeFitness) bool) (f api.WakeFitness) {
	w.Helper()
	w.await(what, func() string {
		st, err := w.status("h1")
		if err != nil {
			return err.Error()
		}
		i := slices.IndexFunc(st.Nodes, func(n api.NodeStatus) bool { return n.Name == place })
		if i < 0 || st.Nodes[i].WakeFitness == nil {
			return fmt.Sprintf("%+v", st.Nodes)
		}
		if f = *st.Nodes[i].WakeFitness; !is(f) {
			return fmt.Sprintf("%+v", f)
		}
		return ""
	})
	return f
}

// refusesSleep wants `nightporter sleep h3` refused for a reason.
func (w *world) refusesSleep(reason string) {
	w.Helper()
	if _, err := w.lab.Host("h1").API().Sleep(w.limit(), place); err == nil || !strings.Contains(err.Error(), reason) {
		w.Errorf("`sleep %s` is answered with %v, want %q", place, err, reason)
	}
}

// setting waits until the guest's own ethtool and the card's register say whether the card is armed.
func (w *world) setting(armed bool) {
	w.Helper()
	want := "Wake-on: d"
	if armed {
		want = "Wake-on: g"
	}
	w.await("the card has "+want, func() string {
		out, err := w.shell.run(w.limit(), "ethtool eth0")
		w.must(err)
		if !strings.Contains(out, "\n"+want) {
			return out
		}
		got, err := realtekArmed(w.limit(), w.monitor)
		w.must(err)
		if got != armed {
			return fmt.Sprintf("the register says %v", got)
		}
		return ""
	})
}

// newHost has armed its card by itself, and has never shown that that helps.
func (w *world) newHost() {
	w.Helper()
	out, err := w.shell.run(w.limit(), "ethtool -i eth0")
	w.must(err)
	if !strings.Contains(out, "driver: 8139cp") {
		w.Fatalf("the card is not what it should be: %s", out)
	}
	w.fitness("the new host is armed", func(f api.WakeFitness) bool { return f.WoL == "armed" && f.Mode == "auto" && !f.MaySleep })
	w.setting(true)
	w.refusesSleep("has never shown that it can be woken")
}

// firstCanary comes by itself when nothing else keeps the host awake.
func (w *world) firstCanary() {
	w.Helper()
	asleep, awake := w.count()
	_, err := w.shell.run(w.limit(), "systemctl stop stay")
	w.must(err)
	at := w.awaitSuspend(asleep + 1)
	woken := w.awaitWakeup(awake + 1)
	f := w.fitness("the canary has passed", func(f api.WakeFitness) bool { return f.MaySleep && f.Canary.Passed })
	w.stay()
	if !f.Canary.Auto || f.Canary.Result != "canary-passed" || f.WoL != "armed" {
		w.Errorf("%+v", f)
	}
	w.silent(at, woken)
	w.Logf("the canary of a new host, by itself: called %v after its suspend (%s): %s", woken.Sub(at).Round(time.Millisecond), w.lastMagic(), f.Canary.Detail)
}

// silent wants no frame of the identity from the machine between its suspend and its return.
func (w *world) silent(from, to time.Time) {
	w.Helper()
	w.seen(to)
	if n := w.claims(from, to); n != 0 {
		w.Errorf("the machine used the identity in %d runs of frames between its suspend at %v and its resume at %v", n, from, to)
	}
}

// order is `nightporter sleep h3`, at another host.
func (w *world) order() <-chan error {
	w.Helper()
	w.awaitLock()
	ended := make(chan error, 1)
	ctx := w.limit()
	go func() {
		_, err := w.lab.Host("h1").API().Sleep(ctx, place)
		ended <- err
	}()
	return ended
}

// disarmed: the driver has taken the setting away at the resume, and then somebody does; each time it is there again when it is needed.
func (w *world) disarmed() {
	w.Helper()
	w.setting(true)
	_, err := w.shell.run(w.limit(), "ethtool -s eth0 wol d")
	w.must(err)
	w.setting(false)
	w.story("its card was disarmed before", w.order, w.connects)
	w.setting(true)
}

// deaf is the control of that: a host that others suspend without a word, right after its card was disarmed, is called in vain. So what woke the others was
// the setting.
func (w *world) deaf() {
	w.Helper()
	w.awaitOwner("serving", place)
	asleep, awake := w.count()
	ended := w.tell("ethtool -s eth0 wol d; " + unannounced)
	at := w.awaitSuspend(asleep + 1)
	front := w.awaitOwner("holding", "h1", "h2")
	w.must(w.place.Wake(w.limit()))
	w.awaitNIC("the card ignores a magic packet", func(c *nic) bool { return c.deaf > 0 })
	if _, n := w.count(); n != awake {
		w.Errorf("the machine resumed by a card that was not armed")
	}
	w.must(w.nic.resume(w.limit()))
	woken := w.awaitWakeup(awake + 1)
	w.must(<-ended)
	w.awaitOwner("serving", place)
	back := w.lastChange()
	w.silent(at, back.At)
	w.setting(true)
	w.Logf("the control, disarmed and suspended without a word: %s after %v; magic packets do not wake it; 0 frames until the record, %v after its power key", front,
		woken.Sub(at).Round(time.Millisecond), back.At.Sub(woken).Round(time.Millisecond))
}

// canary is `nightporter canary h3`, typed at another host.
func (w *world) canary() (r api.CanaryResult) {
	w.Helper()
	out, err := w.lab.Host("h1").Output(w.limit(), "nightporter", "canary", place, "-o", "json")
	w.must(err)
	w.must(json.Unmarshal([]byte(out), &r))
	return r
}

// drifts: the host is to sleep in another way, so what its canary has shown counts no more. By the next one it shows that way, too.
func (w *world) drifts() {
	w.Helper()
	w.configure("suspend: s2idle")
	f := w.fitness("the changed host is not fit any more", func(f api.WakeFitness) bool { return f.Revoked == "fit-drifted" })
	if !strings.Contains(f.RevokedDetail, "sleep mode is s2idle and was deep") {
		w.Errorf("the reason is %q", f.RevokedDetail)
	}
	w.refusesSleep("sleep mode is s2idle and was deep")
	w.awaitOwner("serving", place)
	asleep, awake := w.count()
	r := w.canary()
	if !r.Passed || r.Auto {
		w.Fatalf("%+v", r)
	}
	at, woken := w.awaitSuspend(asleep+1), w.awaitWakeup(awake+1)
	w.silent(at, woken)
	w.fitness("it is fit again", func(f api.WakeFitness) bool { return f.MaySleep })
	w.Logf("a canary by s2idle: called %v after its suspend (%s): %s", woken.Sub(at).Round(time.Millisecond), w.lastMagic(), r.Detail)
	w.story("by s2idle", w.order, w.connects)
	if out, err := w.shell.run(w.limit(), "cat /sys/power/mem_sleep"); err != nil || out != "s2idle [deep]" {
		w.Errorf("the kernel's choice is %q (%v) after it, and was deep before", out, err)
	}
}

// configure adds a line to the guest's configuration and has its agent start anew.
func (w *world) configure(line string) {
	w.Helper()
	_, err := w.shell.run(w.limit(), "sed -i '1i "+line+"' /etc/nightporter/nightporter.yaml; systemctl restart nightporter")
	w.must(err)
}

// password: the card is to wake on magic packets with a password only, which this driver cannot.
func (w *world) password() {
	w.Helper()
	w.configure(`wol_password: "00:11:22:33:44:55"`)
	f := w.fitness("the card cannot be armed", func(f api.WakeFitness) bool { return f.WoL == "unarmed" })
	if f.MaySleep || !strings.Contains(f.WoLDetail, "eth0 cannot wake on a magic packet with a password") {
		w.Errorf("%+v", f)
	}
	w.refusesSleep("no magic packet would wake h3")
	w.awaitOwner("serving", place)
}

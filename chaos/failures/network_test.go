package failures

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// unplug takes a host's only network card away until the returned function gives it back.
func (w *world) unplug(host string) (giveBack func()) {
	w.Helper()
	inRead, inWrite, err := os.Pipe()
	w.must(err)
	outRead, outWrite, err := os.Pipe()
	w.must(err)
	ended := make(chan error, 1)
	go func() {
		_, err := w.lab.Host(host).Exec(context.WithoutCancel(w.Context()), lab.Stdio{In: inRead, Out: outWrite, Err: outWrite}, w.toolWords("hide")...)
		ended <- err
		outWrite.Close()
		inRead.Close()
	}()
	words := bufio.NewScanner(outRead)
	if !words.Scan() || words.Text() != "gone" {
		w.Fatalf("the card of %s stays: %q", host, words.Text())
	}
	return func() {
		w.Helper()
		inWrite.Close()
		w.must(<-ended)
		if words.Scan() {
			w.Fatalf("the card of %s does not come back: %q", host, words.Text())
		}
		outRead.Close()
	}
}

// network takes the holder's LAN interface down, takes it away, and lets an agent start without it.
func (w *world) network() {
	w.Helper()
	victim, epoch := w.whole(all)
	w.served("")
	from := w.length(victim)
	w.tool(victim, "down", "eth0")
	w.replaced(victim, epoch, all, time.Now().Add(ttl))
	w.says(victim, from, "this host holds nothing until that is repaired", "the LAN interface eth0 is down")
	w.tool(victim, "up", "eth0")
	victim, epoch = w.whole(all)

	w.served("")
	from = w.length(victim)
	giveBack := w.unplug(victim)
	w.replaced(victim, epoch, all, time.Now())
	w.says(victim, from, "the interface eth0 does not exist on this host", "plug it in")
	w.stop(victim)
	w.refusesToStart(victim, "interface eth0 cannot be used", "this host has no such interface", "it has lo")
	giveBack()
	w.start(victim)
	w.whole(all)
	w.served("")

	// Back while the agent runs.
	victim, epoch = w.whole(all)
	giveBack = w.unplug(victim)
	w.replaced(victim, epoch, all, time.Now())
	giveBack()
	w.whole(all)
	w.served("")
}

// firewall lets a firewall on every host drop the leases' UDP, while TCP keeps gossip in touch: nobody may hold, the owners
// do not change forever, and status says what to look at.
func (w *world) firewall() {
	w.Helper()
	holder, epoch := w.whole(all)
	w.served("")
	port := strconv.Itoa(config.DefaultGossipPort)
	for _, h := range all {
		w.tool(h, "firewall", "on", "udp", port)
	}
	silent := time.Now().Add(ttl)
	w.await("every host is closed, and one says that UDP is to be looked at", func() string {
		told := false
		for _, h := range all {
			st, err := w.ask(h)
			if err != nil || len(st.Services) != 1 {
				return fmt.Sprintf("%s: %v", h, err)
			}
			if st.Services[0].Fence.State == "open" {
				return h + " is open"
			}
			told = told || hasAll(strings.Join(st.Problems, "\n"), []string{"finds no majority of the voters for its lease (is UDP port " + port + " open between the hosts?)"})
		}
		if !told {
			return "no status names UDP"
		}
		return ""
	})
	if last := w.wire.lastOf(holder); last.At.After(silent) {
		w.Errorf("%s used the identity %v after its lease had run out", holder, last.At.Sub(silent))
	}
	for _, h := range all {
		w.tool(h, "firewall", "off")
	}
	if _, now := w.whole(all); now > epoch+10 {
		w.Errorf("the service changed hands %d times while nobody could hold it", now-epoch)
	}
	w.served("")
}

//go:build vm

package vm

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// asks are the commands that only ask: they are given again until the answer is that of the page, as its reader does.
var asks = regexp.MustCompile(`nightporter (status|why|history|report|config)\b`)

// question is one of `setup` on the page, with what is offered, and the answer.
var question = regexp.MustCompile(`^(.*) \[(.*)\]: ?(.*)$`)

func (k *walk) compare(s step, answer string, err error) {
	k.Helper()
	if err != nil {
		k.Fatalf("%v: %v\n%s", s, err, answer)
	}
	if l := missing(s.shows, answer); l != "" {
		k.Fatalf("%v answers:\n%s\nand the page has what it does not have: %s", s, answer, l)
	}
	k.Logf("%v answers:\n%s", s, answer)
}

// asReader is the command line of a step, for root's shell.
func (k *walk) asReader(s step) string {
	command := strings.ReplaceAll(s.command, "arm64", "amd64")
	if strings.HasPrefix(command, "sudo apt ") { // at a terminal it draws how far it has come
		command = "set -o pipefail; " + command + " | cat"
	}
	for _, l := range s.shows {
		if question.MatchString(l) {
			command = answering(command, s.shows)
			break
		}
	}
	return "runuser -l reader -c " + quote(command)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// answering gives the page's answers to a command at a terminal, each when its question stands there.
func answering(command string, shows []string) string {
	var answers []string
	for _, l := range shows {
		if q := question.FindStringSubmatch(l); q != nil {
			answers = append(answers, fmt.Sprintf("until grep -qF %s said; do sleep 0.1; done; echo %s", quote(q[1]), quote(q[3])))
		}
	}
	return "touch said; { " + strings.Join(answers, "; ") + "; } | script -qfec " + quote(command) + " said"
}

// build is a step at the machine that makes the packages. For the machines here that of one architecture is enough, packed in a second instead of half
// a minute.
func (k *walk) build(s step) {
	k.Helper()
	line := strings.ReplaceAll(strings.ReplaceAll(s.command, "REPOSITORY", k.sources), "arm64", "amd64")
	line = "if [ -d nightporter ]; then cd nightporter; fi; " + line
	cmd := exec.CommandContext(k.limit(), "bash", "-ec", line)
	if strings.HasPrefix(s.command, "scp ") {
		cmd = k.home.command(k.limit(), "bash", "-ec", "scp() { command scp -F ../config \"$@\"; }; "+line)
	}
	cmd.Dir = k.desk
	cmd.Env = append(cmd.Environ(), "ARCHES=amd64", "COMPRESS=gzip", "MAKEFLAGS=")
	out, err := cmd.CombinedOutput()
	k.compare(s, string(out), err)
}

// until asks again until the answer is right.
func (k *walk) until(s step) {
	k.Helper()
	last, lacked := "", ""
	k.await(s.String(), func() string {
		out, err := k.hosts[s.host].shell.run(k.limit(), k.asReader(s))
		if err != nil {
			return err.Error()
		}
		l := missing(s.shows, out)
		if l != lacked {
			k.Logf("%v: for now the answer lacks %s", s, l)
		}
		if lacked = l; l != "" {
			return "the answer\n" + out + "\nlacks " + l
		}
		last = out
		return ""
	})
	k.Logf("%v answers:\n%s", s, last)
}

func (k *walk) await(what string, look func() string) {
	k.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		lacks := look()
		if lacks == "" {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			k.Fatalf("%s: not within %v; last: %s", what, patience, lacks)
		}
	}
}

// watch is a step in a window of its own, which stays open.
func (k *walk) watch(s step) {
	k.Helper()
	a := k.hosts[s.host]
	_, err := a.shell.run(k.limit(), "runuser -l reader -c "+quote(s.command+" >seen 2>&1 </dev/null & echo $! >window"))
	k.must(err)
	k.windows = append(k.windows, a)
}

// look says what stood in the windows, and closes them.
func (k *walk) look() {
	k.Helper()
	for _, a := range k.windows {
		out, err := a.shell.run(k.limit(), "cd /home/reader; kill $(cat window); cat seen")
		k.must(err)
		if l := unseen(out); l != "" {
			k.Errorf("nobody saw %q in the window:\n%s", l, out)
		}
	}
	k.windows = nil
}

// unseen is what of the story of a sleep a window does not show, in its order. States that last for a moment only may be passed over.
func unseen(out string) string {
	for _, want := range []string{"nas serves", " holds", "asleep", "nas serves"} {
		_, rest, found := strings.Cut(out, want)
		if !found {
			return want
		}
		out = rest
	}
	return ""
}

// physically does what no command does.
func (k *walk) physically(s step) {
	k.Helper()
	switch verb, host := s.deed[0], k.hosts[s.deed[len(s.deed)-1]]; {
	case verb == "slow":
		_, err := k.hosts["pi"].shell.run(k.limit(), "echo failover: "+slow+" >>/etc/nightporter/nightporter.yaml")
		k.must(err)
	case host == nil:
		k.Fatalf("%v: there is no such host", s)
	case verb == "unplug", verb == "plug":
		k.must(host.plug(k.limit(), verb == "plug"))
	default:
		k.Fatalf("%v: nobody knows how", s)
	}
}

// says is what docs/install.md tells of the unit, and of what is left after a removal.
var says = regexp.MustCompile("`systemd-analyze security nightporter` says ([0-9.]+) ")

func (k *walk) install() {
	k.Helper()
	page, err := os.ReadFile("../../docs/install.md")
	k.must(err)
	told := says.FindStringSubmatch(string(page))
	out, err := k.hosts["pi"].shell.run(k.limit(), "systemd-analyze security --no-pager nightporter | tail -n 1")
	if err != nil || told == nil || !strings.Contains(out, " "+told[1]+" ") {
		k.Errorf("docs/install.md says of the unit %q, and systemd-analyze %q (%v)", told, out, err)
	}
	out, err = k.hosts["desk"].shell.run(k.limit(), "for f in /etc/nightporter /var/lib/nightporter /run/nightporter /usr/bin/nightporter /sys/fs/bpf/nightporter; do [ ! -e $f ] || echo $f; done; "+
		"ip -o link | grep np- ; ip rule | grep -v -e 'lookup local' -e 'lookup main' -e 'lookup default'; systemctl list-unit-files --no-legend 'nightporter*'; true")
	if err != nil || out != "" {
		k.Errorf("after the purge there is left (%v):\n%s", err, out)
	}
}

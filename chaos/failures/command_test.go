package failures

import (
	"bytes"
	"io"
	"os"
	"strings"
	"syscall"

	"nightporter/chaos/lab"
)

// The exit statuses that the program documents.
const (
	refused  = 1
	noDaemon = 3
	notNow   = 4
)

// commands looks at what the commands say when they cannot do what they are told. It ends with two of three voters stopped.
func (w *world) commands(all []string) {
	w.Helper()
	np := func(words ...string) []string { return append([]string{"nightporter"}, words...) }
	w.complains("h1", np("history", "nothing"), refused, "nothing", "web")
	w.complains("h1", np("move", "nothing", "h1"), refused, "nothing", "web")
	w.complains("h1", np("move", web, "h9"), refused, "h9", "h1")
	w.complains("h1", np("sleep", "h2"), refused, "always on", "power: sleeps")
	w.complains("h1", np("forget", "h2"), refused, "alive", "nightporter leave")
	w.complains("h1", np("join", "10.77.0.99"), refused, "10.77.0.99", "secret")

	// The files of a lab belong to one user, so a mode that keeps him out stands for another user.
	const socket = "/run/nightporter/nightporter.sock"
	w.inHost("h1", "chmod", "0", socket)
	w.complains("h1", w.toolWords("powerless", "none", "nightporter", "status"), noDaemon, "may not talk to", socket, "root", "socket_group")
	w.inHost("h1", "chmod", "660", socket)

	w.complains("c1", np("status"), noDaemon, "nobody answers", socket, "systemctl start nightporter")
	w.stop("h4")
	w.complains("h4", np("status"), noDaemon, "nobody answers", socket, "systemctl start nightporter")
	agent := np("agent", "--config", w.lab.Host("h4").Dir()+"/own.yaml", "--node", "h4")
	for keep, lacks := range map[string]string{"none": "CAP_NET_ADMIN|CAP_NET_RAW", "raw": "CAP_NET_ADMIN", "admin": "CAP_NET_RAW"} {
		w.complains("h4", w.toolWords(append([]string{"powerless", keep}, agent...)...), refused, lacks, "needed|needs")
	}
	w.start("h4")
	w.whole(all)
	w.second(all)
	w.leaderless(all)
}

// second starts another agent beside the holder's, with the same data directory, and the same run directory or another one.
// The first one must not even notice.
func (w *world) second(all []string) {
	w.Helper()
	holder, before := w.whole(all)
	from := w.length(holder)
	agent := []string{"nightporter", "agent", "--config", w.lab.Host(holder).Dir() + "/own.yaml", "--node", holder}
	w.complains(holder, agent, refused, "another agent is running on this host", "stop it first")
	w.complains(holder, append(agent, "--run-dir", "/run/second"), refused, "another agent uses the data directory", "stop it first")
	if now, after := w.whole(all); now != holder || after != before {
		w.Errorf("a second agent moved the service from %s under epoch %d to %s under %d", holder, before, now, after)
	}
	if said := w.log(holder)[from:]; strings.Contains(said, "repairing") {
		w.Errorf("a second agent took something from the first one: %s", said)
	}
}

// leaderless stops two of the three voters: what needs a decision is refused with the reason, the identity falls silent, and
// all is well when they go on.
func (w *world) leaderless(all []string) {
	w.Helper()
	holder, before := w.whole(all)
	st, err := w.ask(holder)
	w.must(err)
	var stopped []string
	for _, v := range st.Quorum.Voters {
		if v != holder && len(stopped) < 2 {
			stopped = append(stopped, v)
			w.must(w.lab.Host(v).Signal(w.limit(), syscall.SIGSTOP))
		}
	}
	w.await("no leader, and nobody holds", func() string {
		st, err := w.ask(holder)
		switch {
		case err != nil:
			return err.Error()
		case st.Leader != "":
			return st.Leader + " leads"
		case st.Services[0].Fence.State == "open":
			return "the fence is open"
		}
		return ""
	})
	w.complains(holder, []string{"nightporter", "--timeout", "2s", "set", "failover", "2s"}, notNow, "leader")
	w.complains(holder, []string{"nightporter", "move", web, stopped[0]}, notNow, "no leader")
	if out := w.inHost(holder, "nightporter", "status"); !strings.Contains(out, "there is no leader") {
		w.Errorf("status does not say that there is no leader: %s", out)
	}
	for _, v := range stopped {
		w.must(w.lab.Host(v).Signal(w.limit(), syscall.SIGCONT))
	}
	_, after := w.whole(all)
	if after < before {
		w.Errorf("the epoch fell from %d to %d", before, after)
	}
	w.served("")
}

func (w *world) inHost(host string, argv ...string) string {
	w.Helper()
	out, err := w.lab.Host(host).Output(w.limit(), argv...)
	w.must(err)
	return out
}

// complains runs a command that must fail with the given exit status and one sentence that has all the words.
func (w *world) complains(host string, argv []string, status int, words ...string) {
	w.Helper()
	read, write, err := os.Pipe()
	w.must(err)
	defer read.Close()
	code, err := w.lab.Host(host).Exec(w.limit(), lab.Stdio{Err: write}, argv...)
	write.Close()
	w.must(err)
	var said bytes.Buffer
	_, err = io.Copy(&said, read)
	w.must(err)
	text := strings.TrimSpace(said.String())
	if code != status || !hasAll(text, words) {
		w.Errorf("%v in %s ended with status %d and said %q; want %d and %q", argv, host, code, text, status, words)
	}
	if strings.Count(text, "\n") > 1 {
		w.Errorf("%v in %s said more than what is wrong and what to do: %q", argv, host, text)
	}
}

package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// The release that every upgrade begins with: its tag, and the commit that the tag stands for, which a full clone has also without tags.
const (
	firstRelease       = "v0.1"
	firstReleaseCommit = "c849c2f"
)

// releasedProgram builds the program of the first release from this repository's history.
func releasedProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) ([]byte, error) {
		cmd := exec.Command("git", append([]string{"-c", "safe.directory=*"}, args...)...)
		cmd.Dir = filepath.Join("..", "..")
		return cmd.Output()
	}
	archive := filepath.Join(dir, "source.tar")
	_, err := git("archive", "--output="+archive, firstRelease)
	if err != nil {
		_, err = git("archive", "--output="+archive, firstReleaseCommit)
	}
	if err != nil {
		t.Fatalf("the source of %s is not in this clone: fetch it with `git fetch --unshallow --tags` (%v)", firstRelease, err)
	}
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-C", source, "-xf", archive).CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v\n%s", firstRelease, err, out)
	}
	path := filepath.Join(dir, "nightporter-"+firstRelease)
	cmd := exec.Command("go", "build", "-race", "-ldflags", "-X main.version="+firstRelease, "-o", path, "./cmd/nightporter") // as the other labs: the dependencies are built once
	cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", firstRelease, err, out)
	}
	return path
}

// upgrading is a lab whose hosts each have a program of their own, as machines do.
type upgrading struct {
	*world
	programs string // a directory with a link for each host
	released string
}

// upgradingHosts is three hosts that all run the first release.
func upgradingHosts(t *testing.T) *upgrading {
	t.Helper()
	u := &upgrading{programs: t.TempDir(), released: releasedProgram(t)}
	conf := filepath.Join(u.programs, "nightporter.yaml")
	var nodes strings.Builder
	for k := 1; k <= 3; k++ {
		host := fmt.Sprintf("h%d", k)
		fmt.Fprintf(&nodes, "  %s: {address: 10.77.0.%d}\n", host, 10+k)
		if err := os.Symlink(u.released, filepath.Join(u.programs, host)); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(u.programs, "secret")
	text := fmt.Sprintf("cluster: lab\nsecret_file: %s\ninterface: eth0\nwol: assumed\nnodes:\n%sservices:\n  - name: web\n    address: %s\n    ports: [%d/tcp]\n    targets: [h1, h2]\n",
		secret, &nodes, lab.ServiceAddr(), lab.ServerPort)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(u.released, "keygen", "--out", secret).CombinedOutput(); err != nil {
		t.Fatalf("keygen of %s: %v\n%s", firstRelease, err, out)
	}
	u.world = build(t, lab.Options{
		Hosts: 3, Sleepers: []int{},
		Agent: []string{filepath.Join(u.programs, "{node}"), "agent", "--config", conf, "--node", "{node}", "--data-dir", "{dir}/data"},
	})
	return u
}

// install puts a program in a host's place for it, as a package manager does, and restarts the agent, as `systemctl restart` does: SIGTERM
// hands over first.
func (u *upgrading) install(host, program string) {
	u.Helper()
	u.place(host, program)
	h := u.lab.Host(host)
	u.must(h.Signal(u.limit(), syscall.SIGTERM))
	if code, err := h.AwaitAgentExit(u.limit()); err != nil || code != 0 {
		u.Fatalf("the agent of %s ended with status %d (%v)", host, code, err)
	}
	u.must(h.Start(u.limit()))
}

func (u *upgrading) place(host, program string) {
	u.Helper()
	link := filepath.Join(u.programs, host)
	u.must(os.Symlink(program, link+".new"))
	u.must(os.Rename(link+".new", link))
}

// versions says of each host whether it runs the first release.
func (u *upgrading) versions() map[string]bool {
	out := make(map[string]bool)
	for _, h := range u.hosts {
		st, err := u.ask(h)
		u.must(err)
		out[h] = st.Version == firstRelease
	}
	return out
}

// One host after the other is upgraded from the first release, and back, and to the end; the service has its owner all the time, and never
// two (the wire is judged at the end). When all have the new program and one thing has been said that the first release has no words for,
// the way back is closed: the old program ends with a sentence, and holds nothing.
func TestUpgradeFromTheFirstRelease(t *testing.T) {
	u := upgradingHosts(t)
	u.settled(nil, 3)
	_, first := u.awaitHolder(web, "serving")
	p := u.probe("c1", webPort())
	u.awaitAnswer(p)
	epoch := first.Epoch
	step := func(host, program string) {
		t.Helper()
		began := time.Now()
		u.install(host, program)
		u.settled(nil, 3)
		u.awaitAnswer(p)
		holder, s := u.awaitHolder(web, "serving")
		t.Logf("%s runs %s; %s holds under epoch %d; %v; the longest gap so far: %v", host, filepath.Base(program), holder, s.Epoch, time.Since(began).Round(time.Millisecond), p.longest())
		if s.Epoch < epoch {
			t.Errorf("the epoch went from %d to %d", epoch, s.Epoch)
		}
		epoch = s.Epoch
	}
	step("h1", program)
	step("h2", program)
	step("h2", u.released) // back, while one has not been upgraded
	step("h1", u.released)
	for _, h := range u.hosts {
		step(h, program)
	}
	for h, old := range u.versions() {
		if old {
			t.Errorf("%s still runs %s", h, firstRelease)
		}
	}
	if g := p.longest(); g.long > handoverGap {
		t.Errorf("an upgrade or a rollback cost %v, more than %v: that was no hand-over", g, handoverGap)
	}
	u.noWayBack()
	p.end()
	all, asked := p.gaps()
	t.Logf("%d questions, gaps %v", asked, all)
}

// noWayBack says something new, and tries the first release on a host that holds nothing.
func (u *upgrading) noWayBack() {
	u.Helper()
	c := u.api("h3")
	st, err := c.Status(u.limit())
	u.must(err)
	s, _ := service(st, web)
	definition := s.Service
	definition.Replay = "none"
	_, err = c.Apply(u.limit(), []api.Service{definition})
	u.must(err)
	before := len(u.agentLog("h3"))
	u.place("h3", u.released)
	h := u.lab.Host("h3")
	u.must(h.Signal(u.limit(), syscall.SIGTERM))
	_, err = h.AwaitAgentExit(u.limit())
	u.must(err)
	u.must(h.Start(u.limit()))
	code, err := h.AwaitAgentExit(u.limit())
	u.must(err)
	log := u.agentLog("h3")[before:]
	said := ""
	for line := range strings.Lines(log) {
		if strings.Contains(line, "runs an older version of nightporter than the cluster and stops here; upgrade it") {
			said = strings.TrimSpace(line)
		}
	}
	if code == 0 || said == "" {
		u.Errorf("when the way back is closed the old program ended with status %d and said:\n%s", code, log)
	}
	u.Logf("the old program: %s", said)
	// It ended as it is meant to, by a panic; every other one is a fault that the end of the test finds.
	u.must(os.Truncate(filepath.Join(u.lab.Host("h3").Dir(), "agent.log"), int64(before)))
	u.place("h3", program)
	u.must(h.Start(u.limit()))
	u.settled(nil, 3)
}

package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"nightporter/chaos/lab"
	"nightporter/config"
)

// held is web on h4, with a hold.
func held(hold string) config.Service {
	return config.Service{
		Name: web, Addresses: []netip.Addr{lab.ServiceAddr()}, Ports: []config.Port{{Protocol: "tcp", Number: lab.ServerPort}},
		Targets: []string{"h4"}, Hold: hold,
	}
}

// result is how a program ended, and what it wrote.
type result struct {
	code     int
	out, err string
	took     time.Duration
}

// run runs a program in a host.
func (w *world) run(ctx context.Context, host, in string, argv ...string) (r result) {
	w.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		w.Fatalf("this test uses %s, a real client: install it (README.md has the packages): %v", argv[0], err)
	}
	began := time.Now()
	var files [3]*os.File
	var drained [2]chan string
	read, write, err := os.Pipe()
	w.must(err)
	files[0] = read
	for i := range drained {
		r, end, err := os.Pipe()
		w.must(err)
		files[i+1], drained[i] = end, make(chan string, 1)
		go func() {
			defer r.Close()
			var b bytes.Buffer
			_, _ = io.Copy(&b, r) // an error ends it, too
			drained[i] <- b.String()
		}()
	}
	go func() {
		defer write.Close()
		_, _ = io.WriteString(write, in) // who does not read it does not want it
	}()
	r.code, err = w.lab.Host(host).Exec(ctx, lab.Stdio{In: files[0], Out: files[1], Err: files[2]}, argv...)
	for _, f := range files {
		f.Close()
	}
	w.must(err)
	r.out, r.err, r.took = <-drained[0], <-drained[1], time.Since(began)
	return r
}

var webURL = fmt.Sprintf("http://%s:%d/", lab.ServiceAddr(), lab.ServerPort)

// stays wants the identity to be at a front.
func (w *world) stays(front string) {
	w.Helper()
	if at, s, missing := w.holder(web); missing != "" || at != front {
		w.Errorf("%s holds %s (%s)%s, want %s", at, web, s.Role, missing, front)
	}
}

// hold: http. Programs get 503 and the time after which to ask again, people a page that asks by itself; each such request wakes
// the target, and a browser that only waits comes to it.
func TestAPageWhileTheTargetWakes(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{held(config.HoldHTTP)}})
	w.settled(nil, 3)
	w.sleep("h4")
	r := w.run(w.limit(), "c1", "", "curl", "-s", "-m", "5", "-D", "-", webURL)
	if r.code != 0 || !strings.Contains(r.out, " 503 ") || !strings.Contains(r.out, "Retry-After: ") || !strings.Contains(r.out, "web is being woken up") {
		t.Errorf("curl was told with status %d: %s%s", r.code, r.out, r.err)
	}
	r = w.run(w.limit(), "c1", "", "curl", "-s", "-m", "5", "-H", "Accept: text/html,*/*", "-X", "POST", "-d", "a=b", webURL)
	if r.code != 0 || !strings.Contains(r.out, "<title>web is waking up</title>") || !strings.Contains(r.out, `http-equiv="refresh"`) {
		t.Errorf("a browser was told with status %d: %s%s", r.code, r.out, r.err)
	}
	// curl's own patience with 503: it honours Retry-After.
	r = w.run(w.limit(), "c1", "", "curl", "-s", "-m", "60", "--retry", "30", webURL)
	if r.code != 0 || !strings.Contains(r.out, "h4") {
		t.Errorf("curl that tries again ended with status %d after %v: %s%s", r.code, r.took, r.out, r.err)
	}
	w.awaitServing("h4")
	w.sleep("h4")
	browser(w)
}

// browser opens the page in a real one, which asks again by itself until the target answers.
func browser(w *world) {
	w.Helper()
	profile := w.TempDir()
	// Its clock runs on its own while it waits for the network: the page's refresh comes in time.
	r := w.run(w.limit(), "c1", "", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+profile,
		"--virtual-time-budget=1000", "--dump-dom", webURL)
	if r.code != 0 || !strings.Contains(r.out, "web is waking up") {
		w.Errorf("the browser shows with status %d: %s%s", r.code, r.out, r.err)
	}
	w.awaitServing("h4")
	r = w.run(w.limit(), "c1", "", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+profile,
		"--virtual-time-budget=1000", "--dump-dom", webURL)
	if r.code != 0 || !strings.Contains(r.out, "h4") {
		w.Errorf("when the target is up the browser shows with status %d: %s%s", r.code, r.out, r.err)
	}
}

// hold: reject. A client is refused at once, and has woken the target all the same.
func TestARefusalThatWakes(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{held(config.HoldReject)}})
	w.settled(nil, 3)
	w.sleep("h4")
	port := strconv.Itoa(lab.ServerPort)
	r := w.run(w.limit(), "c1", "", "nc", "-v", "-w", "20", lab.ServiceAddr().String(), port)
	if r.code == 0 || !strings.Contains(r.err, "refused") {
		t.Errorf("nc ended with status %d: %s%s", r.code, r.out, r.err)
	}
	r = w.run(w.limit(), "c1", "", "curl", "-s", "-m", "60", "--retry", "60", "--retry-connrefused", "--retry-delay", "1", webURL)
	if r.code != 0 || !strings.Contains(r.out, "h4") {
		t.Errorf("curl that tries again ended with status %d: %s%s", r.code, r.out, r.err)
	}
	w.judged("h4", "c1", "useful") // though the connection that woke it was refused
	w.awaitServing("h4")
}

// hold: proxy. A client that would give up before the target is up is connected at once; the identity stays at the front for as long
// as such a connection lives, and further clients are passed on meanwhile; then it goes to the target.
func TestConnectionsArePassedOn(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Services: []config.Service{held(config.HoldProxy)}})
	w.settled(nil, 3)
	front := w.sleep("h4")
	r := w.run(w.limit(), "c1", "", "curl", "-s", "--connect-timeout", "0.5", "-m", "60", webURL)
	if r.code != 0 || !strings.Contains(r.out, "h4") {
		t.Fatalf("curl ended with status %d after %v: %s%s", r.code, r.took, r.out, r.err)
	}
	w.judged("h4", "c1", "useful") // it came by way of the front
	w.awaitServing("h4")           // it was one short connection

	w.sleep("h4")
	ctx, cancel := context.WithCancel(w.limit())
	defer cancel()
	conn, err := w.lab.Host("c1").Dial(ctx, "tcp", webPort())
	w.must(err)
	defer conn.Close()
	say := func(word string) {
		w.Helper()
		w.must(conn.SetDeadline(time.Now().Add(20 * time.Second)))
		_, err := io.WriteString(conn, word+"\n")
		w.must(err)
		back := make([]byte, 64)
		n, err := conn.Read(back)
		w.must(err)
		if got := string(back[:n]); !strings.Contains(got, "h4") || !strings.Contains(got, word) {
			w.Errorf("%q came back as %q", word, got)
		}
	}
	say("first")
	front = w.staysWhile(front, func() {
		for range 5 {
			r := w.run(w.limit(), "c1", "", "curl", "-s", "-m", "10", webURL)
			if r.code != 0 || !strings.Contains(r.out, "h4") {
				t.Errorf("another client, with status %d: %s%s", r.code, r.out, r.err)
			}
			say("and on")
		}
	})
	w.stays(front)
	w.must(conn.Close())
	w.awaitServing("h4")
}

// staysWhile wants that a front holds before and after.
func (w *world) staysWhile(front string, f func()) string {
	w.Helper()
	at, _, missing := w.holder(web)
	if missing != "" || at == "h4" {
		w.Errorf("%s holds %s%s while a connection is passed on; the front was %s", at, web, missing, front)
	}
	f()
	w.stays(at)
	return at
}

package front

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// book is a desk that says what it is told to, and remembers what it hears.
type book struct {
	mu      sync.Mutex
	route   Route
	waiting Waiting
	at      netip.AddrPort // of a target that is up; zero = none is
	engaged []int
	refused int
	knocks  []string
}

func (b *book) Knock(service string, client, dest netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.knocks = append(b.knocks, service+" "+client.String()+" "+dest.String())
}

func (b *book) Route(netip.AddrPort) Route { b.mu.Lock(); defer b.mu.Unlock(); return b.route }
func (b *book) Waiting(s string) Waiting {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.waiting
	w.Service = s
	return w
}

func (b *book) Upstream(string, uint16) (netip.AddrPort, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at, b.at.IsValid()
}

func (b *book) Engaged(_ string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.engaged = append(b.engaged, n)
}

func (b *book) Refused(string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused++
}

func (b *book) heard() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.engaged)
}

// opened is a door on this host; who dials its port comes to what the book's route says.
func opened(t *testing.T, b *book, patience time.Duration) *Door {
	t.Helper()
	return knocking(t, b, patience, knockEvery)
}

func knocking(t *testing.T, b *book, patience, knocks time.Duration) *Door {
	t.Helper()
	d, err := open(b, patience, knocks, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func dial(t *testing.T, d *Door) net.Conn {
	t.Helper()
	four, _ := d.Ports()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", four))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// get asks for a page.
func get(t *testing.T, d *Door, head ...string) (*http.Response, string) {
	t.Helper()
	c := dial(t, d)
	fmt.Fprintf(c, "GET /a?b HTTP/1.1\r\nHost: nas\r\n%s\r\n", strings.Join(append(head, ""), "\r\n"))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

func TestThePage(t *testing.T) {
	b := &book{route: Route{"nas", Page}, waiting: Waiting{
		Since: 3 * time.Second, Usual: 8 * time.Second, Problem: "h4 <did> not wake", Hosts: []Host{{"h4", "waking"}},
	}}
	d := opened(t, b, time.Minute)
	r, body := get(t, d)
	if r.StatusCode != 503 || r.Header.Get("Retry-After") != "5" || !r.Close || body != "nas is being woken up; ask again in 5 s\nh4 <did> not wake\n" {
		t.Errorf("a program is told %s %v: %s", r.Status, r.Header, body)
	}
	r, body = get(t, d, "Accept: text/html,application/xhtml+xml")
	for _, want := range []string{"nas is waking up", `content="2"`, `value="37"`, "Waiting for 3 s; it usually takes 8 s", "h4 &lt;did&gt; not wake", "<td>h4</td><td>waking</td>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %s:\n%s", want, body)
		}
	}
	if r.StatusCode != 503 || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %v", r.Status, r.Header)
	}
	b.mu.Lock()
	b.waiting = Waiting{Since: 30 * time.Second}
	b.mu.Unlock()
	if r, body := get(t, d, "Accept: text/html"); r.Header.Get("Retry-After") != "2" || strings.Contains(body, "usually") || !strings.Contains(body, "<progress></progress>") {
		t.Errorf("where nobody knows how long it takes: %v\n%s", r.Header, body)
	}
}

func TestProgressIsNeverQuiteOver(t *testing.T) {
	for _, c := range []struct {
		since, usual time.Duration
		want         int
	}{{0, 0, 0}, {time.Second, 4 * time.Second, 25}, {time.Hour, time.Second, 95}} {
		if got := (Waiting{Since: c.since, Usual: c.usual}).Progress(); got != c.want {
			t.Errorf("%v of %v is %d %%, want %d", c.since, c.usual, got, c.want)
		}
	}
}

// echo is a target's program.
func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// What a client says while it waits comes to the target, its half-close too; the desk hears of it from the first moment.
func TestAConnectionIsPassedOn(t *testing.T) {
	b := &book{route: Route{"nas", Proxy}}
	d := opened(t, b, time.Minute)
	c := dial(t, d)
	if _, err := io.WriteString(c, "said while nobody was there\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for len(b.heard()) == 0 { // the desk must hear of it before any target is up
		time.Sleep(time.Millisecond)
	}
	b.mu.Lock()
	b.at = echo(t)
	b.mu.Unlock()
	if got, err := io.ReadAll(c); err != nil || string(got) != "said while nobody was there\n" {
		t.Errorf("%q came back, and %v", got, err)
	}
	for len(b.heard()) < 2 {
		time.Sleep(time.Millisecond)
	}
	if got := b.heard(); !slices.Equal(got, []int{1, 0}) {
		t.Errorf("the desk heard of %v connections, want 1, then 0", got)
	}
}

// ends wants that a connection is over, without a byte.
func ends(t *testing.T, c net.Conn) {
	t.Helper()
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("a connection that should be over gives %q, %v", got, err)
	}
}

func TestWhoIsSentAway(t *testing.T) {
	t.Run("nobody waits behind this address", func(t *testing.T) {
		ends(t, dial(t, opened(t, &book{}, time.Minute)))
	})
	t.Run("no target comes up", func(t *testing.T) {
		ends(t, dial(t, opened(t, &book{route: Route{"nas", Proxy}}, 200*time.Millisecond)))
	})
	t.Run("the identity is gone", func(t *testing.T) {
		b := &book{route: Route{"nas", Proxy}}
		d := opened(t, b, time.Minute)
		c := dial(t, d)
		for len(b.heard()) == 0 {
			time.Sleep(time.Millisecond)
		}
		d.Leave("other")
		d.Leave("nas")
		ends(t, c)
	})
	t.Run("one client has too many", func(t *testing.T) {
		b := &book{route: Route{"nas", Proxy}}
		d := opened(t, b, time.Minute)
		for range mostOfOneHost {
			dial(t, d)
		}
		for len(b.heard()) < mostOfOneHost {
			time.Sleep(time.Millisecond)
		}
		ends(t, dial(t, d))
	})
}

// A client that gave up is not waited for.
func TestAClientThatGaveUp(t *testing.T) {
	b := &book{route: Route{"nas", Proxy}}
	c := dial(t, opened(t, b, time.Hour))
	for len(b.heard()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := c.(*net.TCPConn).SetLinger(0); err != nil { // a reset
		t.Fatal(err)
	}
	c.Close()
	for len(b.heard()) < 2 {
		time.Sleep(time.Millisecond)
	}
}

// Who waits is told of again and again, in the client's and the service's names: its own system says nothing any more. That ends when
// it is passed on.
func TestAClientThatWaitsKnocksAgain(t *testing.T) {
	b := &book{route: Route{"nas", Proxy}}
	d := knocking(t, b, time.Minute, time.Millisecond)
	c := dial(t, d)
	knocks := func() []string { b.mu.Lock(); defer b.mu.Unlock(); return slices.Clone(b.knocks) }
	for len(knocks()) < 3 {
		time.Sleep(time.Millisecond)
	}
	if want := fmt.Sprintf("nas %s %s", c.LocalAddr(), c.RemoteAddr()); knocks()[0] != want {
		t.Errorf("the desk heard %q, want %q", knocks()[0], want)
	}
	b.mu.Lock()
	b.at = echo(t)
	b.mu.Unlock()
	answered := make([]byte, 1)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, answered); err != nil {
		t.Fatal(err)
	}
	before := len(knocks())
	for range 3 { // as long as it takes to knock three times more
		time.Sleep(again)
	}
	if n := len(knocks()); n != before {
		t.Errorf("it knocked %d times after it was passed on", n-before)
	}
	c.Close() // the target waits for that
}

package scenarios

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// follower is `nightporter events --follow` on a host, read line by line.
type follower struct {
	mu   sync.Mutex
	told []api.Event
	said strings.Builder // on standard error
}

// follow starts it, and returns when it has told something.
func (w *world) follow(host string) *follower {
	w.Helper()
	out, write, err := os.Pipe()
	w.must(err)
	errs, complain, err := os.Pipe()
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{}
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e api.Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				w.Errorf("%s: %v", lines.Text(), err)
			}
			f.mu.Lock()
			f.told = append(f.told, e)
			f.mu.Unlock()
		}
	})
	reading.Go(func() {
		lines := bufio.NewScanner(errs)
		for lines.Scan() {
			f.mu.Lock()
			f.said.WriteString(lines.Text() + "\n")
			f.mu.Unlock()
		}
	})
	reading.Go(func() {
		_, _ = w.lab.Host(host).Exec(ctx, lab.Stdio{Out: write, Err: complain}, "nightporter", "events", "--follow", "--last", "1000", "-o", "json") // ended by cancel
		write.Close()
		complain.Close()
	})
	w.Cleanup(func() { cancel(); reading.Wait(); out.Close(); errs.Close() })
	w.await("the story begins", func() string {
		if len(f.all()) == 0 {
			return "nothing was told"
		}
		return ""
	})
	return f
}

func (f *follower) all() []api.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.told)
}

// has waits until the story has events, in this order, with others between. Each is written as line writes it.
func (w *world) has(f *follower, want ...string) {
	w.Helper()
	w.await("the story has it", func() string {
		var got []string
		next := 0
		for _, e := range f.all() {
			got = append(got, line(e))
			if next < len(want) && line(e) == want[next] {
				next++
			}
		}
		if next < len(want) {
			return fmt.Sprintf("%q is missing in\n%s", want[next], strings.Join(got, "\n"))
		}
		return ""
	})
}

func line(e api.Event) string {
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s %s>%s %s", e.Kind, e.What, e.Service, e.Node, e.From, e.To, e.Reason)), " ")
}

// The story that a host tells is what happened, in its order, each thing once, whatever happens to its own agent meanwhile; and every
// other host tells the same one.
func TestTheStoryIsWhatHappened(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4})
	w.settled(nil, 3)
	w.awaitServing("h4")
	f := w.follow("h2")
	if first := f.all()[0]; line(first) != "cluster founded >" || first.Detail == "" {
		t.Errorf("the story begins with %q", first.Sentence)
	}

	seen := w.quiet("h3")
	front := w.sleep("h4")
	w.news("h3", seen, func(s api.Status) bool {
		n, _ := node(s, "h4")
		return n.Power == "asleep" && s.Services[0].Owner == front
	})
	w.has(f, "power h4 awake>suspending operator-sleep", "owner web h4>"+front+" owner-sleeps", "power h4 suspending>asleep operator-sleep")
	w.tells("h3", []string{"why", web}, front+" holds web as a front since ", "it is asleep since ", "a client that asks for 8080/tcp wakes h4", "if "+front+" fell silent, ")
	w.tells("h3", []string{"why", "h4"}, "h4 is asleep", "a client that asks for web at 8080/tcp wakes it")
	w.tells("h3", []string{"status"}, front+" holds ", "owner-sleeps", "operator-sleep", "the log is current")

	w.connect("c1", "h4")
	w.awaitServing("h4")
	w.has(f, "wake begun web h4 > demand", "owner web "+front+">h4 target-ready")
	w.has(f, "wake begun web h4 > demand", "wake ended web h4 > woke-up")

	_, err := w.api("h3").Move(w.limit(), web, "h1")
	w.must(err)
	w.has(f, "owner web h4>h1 operator-moved")
	w.await("a host that does not vote tells the holder's lease and fence", func() string {
		got, err := w.api("h4").Watch(w.limit(), api.WatchQuery{Ask: true})
		if err != nil {
			return err.Error()
		}
		if h := got.Status.Services[0].Holder; h != (api.Holder{Source: "asked", Lease: "held", Fence: "open"}) {
			return fmt.Sprintf("it tells %+v", h)
		}
		return ""
	})

	h2 := w.lab.Host("h2") // the follower's own agent
	w.must(h2.Signal(w.limit(), syscall.SIGTERM))
	if code, err := h2.AwaitAgentExit(w.limit()); err != nil || code != 0 {
		t.Fatalf("h2 ended with status %d, %v", code, err)
	}
	w.must(w.api("h3").Set(w.limit(), api.Settings{Inrush: 2})) // while nobody there can hear of it
	w.must(h2.Start(w.limit()))
	w.settled(nil, 3)
	w.has(f, "setting wake_inrush 4>2")

	w.must(ignored(w.lab.Host("h1").Kill(w.limit())))
	heir, _ := w.awaitHolder(web, "")
	for heir == "h1" {
		heir, _ = w.awaitHolder(web, "")
	}
	w.has(f, "owner web h1>"+heir+" owner-failed") // that it counts as off comes half a minute later

	w.sameStory(f)
	if said := f.said.String(); !strings.Contains(said, "waiting for the daemon") || !strings.Contains(said, "the daemon answers again") {
		t.Errorf("of its agent's restart the follower says %q", said)
	}
}

// quiet waits until a host's status does not change for a second, though all in it grows older, and gives its mark.
func (w *world) quiet(host string) (mark string) {
	w.Helper()
	w.await("nothing changes on "+host, func() string {
		got, err := w.api(host).Watch(w.limit(), api.WatchQuery{Mark: mark, Wait: api.Duration(time.Second)})
		if err != nil {
			return err.Error()
		}
		if got.Mark != mark {
			mark = got.Mark
			return fmt.Sprintf("it changed to %+v", got.Status)
		}
		return ""
	})
	return mark
}

// news watches a host until its status is as wanted. Each answer must be another one than the last.
func (w *world) news(host, mark string, good func(api.Status) bool) {
	w.Helper()
	for {
		got, err := w.api(host).Watch(w.limit(), api.WatchQuery{Mark: mark, Wait: api.Duration(patience)})
		w.must(err)
		if got.Mark == mark {
			w.Fatalf("nothing is told of what happened: %+v", got.Status)
		}
		if mark = got.Mark; good(got.Status) {
			return
		}
	}
}

// tells runs a command on a host, whose answer must have all the words.
func (w *world) tells(host string, args []string, words ...string) {
	w.Helper()
	out, err := w.lab.Host(host).Output(w.limit(), append([]string{"nightporter"}, args...)...)
	w.must(err)
	for _, word := range words {
		if !strings.Contains(out, word) {
			w.Errorf("%v on %s does not say %q:\n%s", args, host, word, out)
		}
	}
}

func ignored[T any](_ T, err error) error { return err }

// sameStory compares what was followed with what the other hosts tell at the end, and its changes of owner with the history.
func (w *world) sameStory(f *follower) {
	w.Helper()
	w.await("all hosts tell the same story", func() string {
		told := f.all()
		for host := range w.running() {
			e, err := w.api(host).Events(w.limit(), api.EventsQuery{})
			if err != nil {
				return err.Error()
			}
			if diff := cmp.Diff(e.Events, told); diff != "" {
				return host + " tells another story than was followed (-host +followed):\n" + diff
			}
		}
		return ""
	})
	h, err := w.api("h2").History(w.limit(), web)
	w.must(err)
	var owners []api.Event
	for _, e := range f.all() {
		if e.Kind == "owner" {
			owners = append(owners, e)
		}
	}
	for i, c := range h.Changes[len(h.Changes)-len(owners):] {
		if e := owners[i]; e.Index != c.Index || e.Epoch != c.Epoch || e.From != c.From || e.To != c.To || e.Reason != c.Reason || !e.At.Equal(c.At) {
			w.Errorf("the story has %+v, the history %+v", e, c)
		}
	}
}

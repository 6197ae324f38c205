package scenarios

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nightporter/api"
	"nightporter/chaos/lab"
)

// fitness waits until a host tells of h4 what is wanted.
func (w *world) fitness(asked, what string, is func(api.WakeFitness) bool) api.WakeFitness {
	w.Helper()
	var last api.WakeFitness
	w.await(what, func() string {
		st, err := w.ask(asked)
		n, _ := node(st, "h4")
		if err != nil || n.WakeFitness == nil {
			return fmt.Sprintf("%+v, %v", n, err)
		}
		if last = *n.WakeFitness; !is(last) {
			return fmt.Sprintf("%+v", last)
		}
		return ""
	})
	return last
}

// refusesSleep wants `nightporter sleep h4` refused for a reason.
func (w *world) refusesSleep(asked, reason string) {
	w.Helper()
	if _, err := w.api(asked).Sleep(w.limit(), "h4"); err == nil || !strings.Contains(err.Error(), reason) {
		w.Fatalf("`sleep h4` is answered with %v, want %q", err, reason)
	}
}

// awake waits until h4 is up and said to be.
func (w *world) awakeAgain(asked string) {
	w.Helper()
	w.await("h4 is awake", func() string {
		st, err := w.ask(asked)
		if n, _ := node(st, "h4"); err != nil || n.Power != "awake" || !n.Alive {
			return fmt.Sprintf("%+v, %v", n, err)
		}
		return ""
	})
}

// A host may sleep when it has been woken once under supervision, even if the leader dies in the middle of that; and no more, once what its
// waking depends on is another thing.
func TestCanary(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Lines: []string{"canary: manual"}})
	w.settled(nil, 3)
	w.refusesSleep("h1", "has never shown that it can be woken")
	leader, missing := w.leader([]string{"h1", "h2", "h3"})
	if missing != "" {
		t.Fatal(missing)
	}
	asker := without([]string{"h1", "h2", "h3"}, leader)[0]
	ended := make(chan error, 1)
	var r api.CanaryResult
	go func() {
		out, err := w.lab.Host(asker).Output(w.limit(), "nightporter", "canary", "h4", "-o", "json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &r)
		}
		ended <- err
	}()
	w.must(w.lab.Host("h4").AwaitPower(w.limit(), lab.PowerAsleep))
	_, err := w.lab.Host(leader).Kill(w.limit())
	w.must(err)
	w.must(<-ended)
	awake := slices.ContainsFunc(r.Phases, func(p api.PhaseTime) bool { return p.Phase == "awake" && p.After > 0 })
	if h := w.power()["h4"]; !r.Passed || r.Result != "canary-passed" || !awake || h.Sleeps != 1 || !strings.Contains(h.WokenBy, "magic packet") {
		t.Fatalf("%+v; the host: %+v", r, h)
	}
	w.must(w.lab.Host(leader).Start(w.limit()))
	w.settled(nil, 3)
	w.sleep("h4")
	w.connect("c1", "h4")

	w.changeSuspendCommand()
	f := w.fitness("h1", "the changed host is not fit any more", func(f api.WakeFitness) bool { return f.Revoked == "fit-drifted" })
	if !strings.Contains(f.RevokedDetail, "suspend command is env ") {
		t.Errorf("the reason is %q", f.RevokedDetail)
	}
	w.settled(nil, 3)
	w.refusesSleep("h1", "and since then suspend command is env")
	said, err := w.lab.Host("h2").Output(w.limit(), "nightporter", "canary", "--accept", "h4")
	if err != nil || !strings.Contains(said, "counts as fit") {
		t.Fatalf("%q, %v", said, err)
	}
	w.sleep("h4")
}

// changeSuspendCommand changes the file and restarts the agent of h4.
func (w *world) changeSuspendCommand() {
	w.Helper()
	path := filepath.Join(w.lab.Dir(), "nightporter.yaml")
	text, err := os.ReadFile(path)
	w.must(err)
	w.must(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "suspend_command: [", "suspend_command: [env, ")), 0o600))
	h4 := w.lab.Host("h4")
	w.must(h4.Signal(w.limit(), syscall.SIGTERM))
	_, err = h4.AwaitAgentExit(w.limit())
	w.must(err)
	w.must(h4.Start(w.limit()))
}

// A card that does not wake: the canary says so, and the host is not put to sleep unless somebody insists.
func TestCanaryOfADeafCard(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Lines: []string{"canary: manual", "wake_timeout: 3s"}})
	w.settled(nil, 3)
	w.must(w.lab.Card(w.limit(), "h4", lab.Card{Deaf: true}))
	r, err := w.api("h2").Canary(w.limit(), "h4")
	if err != nil || r.Passed || r.Result != "canary-failed" || !strings.Contains(r.Detail, "did not come back; look at the firmware's settings") {
		t.Fatalf("%+v, %v", r, err)
	}
	if h := w.power()["h4"]; h.Power != lab.PowerAsleep || h.Ignored == 0 {
		t.Fatalf("%+v", h)
	}
	w.flagged("canary-failed")
	w.must(w.lab.Host("h4").PressPower(w.limit()))
	w.awakeAgain("h1")
	w.refusesSleep("h1", "the canary of h4 has failed")
	w.must(w.lab.Card(w.limit(), "h4", lab.Card{}))
	if _, err := w.lab.Host("h1").Output(w.limit(), "nightporter", "sleep", "--anyway", "h4"); err != nil {
		t.Fatal(err)
	}
	w.must(w.lab.Host("h4").AwaitPower(w.limit(), lab.PowerAsleep))
	w.connect("c1", "h4")
	w.fitness("h3", "that does not clear it", func(f api.WakeFitness) bool { return f.CannotBeWoken && !f.MaySleep })
}

// flagged wants everybody who is awake to say loudly that h4 cannot be woken.
func (w *world) flagged(reason string) {
	w.Helper()
	for _, h := range []string{"h1", "h2", "h3"} {
		w.fitness(h, h+" says that h4 cannot be woken", func(f api.WakeFitness) bool { return f.CannotBeWoken && f.Revoked == reason && !f.MaySleep })
		st, err := w.ask(h)
		if err != nil || len(st.Problems) == 0 || !strings.HasPrefix(st.Problems[0], "CANNOT BE WOKEN: ") {
			w.Errorf("%s: %q, %v", h, st.Problems, err)
		}
	}
}

// A host that a wake did not reach is not put to sleep again, though it needs no canary.
func TestAHostThatCannotBeWoken(t *testing.T) {
	w := build(t, lab.Options{Hosts: 4, Lines: []string{"wake_timeout: 3s"}})
	w.settled(nil, 3)
	w.must(w.lab.Card(w.limit(), "h4", lab.Card{Deaf: true}))
	w.sleep("h4")
	said, err := w.lab.Host("h1").Output(w.limit(), "nightporter", "wake", "--timeout", "1s", "h4")
	if err == nil {
		t.Fatalf("a deaf card was woken: %s", said)
	}
	w.flagged("wake-failed")
	w.must(w.lab.Host("h4").PressPower(w.limit()))
	w.awakeAgain("h1")
	w.refusesSleep("h1", "could not be woken from its last sleep")
	w.must(w.lab.Card(w.limit(), "h4", lab.Card{}))
	w.must(w.api("h3").AcceptFitness(w.limit(), "h4"))
	if err := w.api("h3").AcceptFitness(w.limit(), "h1"); err == nil || !strings.Contains(err.Error(), "it is always on") {
		t.Errorf("that a host that never sleeps can be woken is accepted: %v", err)
	}
	w.settled(nil, 3)
	w.sleep("h4")
}

// A host that goes to sleep by itself shows first that it can be woken, when nobody needs it.
func TestCanaryByItself(t *testing.T) {
	w := build(t, lab.Options{
		Hosts: 4, Idle: idleFor, Lines: []string{"canary: auto"},
		StayAwake: []string{"network: 2000000", "at_least: 1s", "commands: [[test, '!', -e, " + free + "]]"},
	})
	w.settled(nil, 3)
	w.await("h4 says that it has to", func() string {
		a := w.why("h1", "h4")
		if r, ok := reason(a, "unfit"); !ok || r.Kind != "hold" || !strings.Contains(r.Sentence, "and so it does by itself when it is idle") {
			return fmt.Sprintf("%+v", a)
		}
		return ""
	})
	_, err := w.lab.Host("h4").Output(w.limit(), "touch", free)
	w.must(err)
	f := w.fitness("h1", "the canary has passed", func(f api.WakeFitness) bool { return f.MaySleep })
	if !f.Canary.Auto || f.Canary.By != "h4" || !f.Canary.Passed {
		t.Errorf("%+v", f.Canary)
	}
	w.fallsAsleep("h4")
}

// A card with a SecureOn password wakes on magic packets that carry it, and the agents' do.
func TestSecureOn(t *testing.T) {
	password := net.HardwareAddr{0, 0x11, 0x22, 0x33, 0x44, 0x55}
	w := build(t, lab.Options{Hosts: 4, Lines: []string{`wol_password: "00:11:22:33:44:55"`}})
	w.settled(nil, 3)
	w.must(w.lab.Card(w.limit(), "h4", lab.Card{Password: password}))
	w.sleep("h4")
	w.must(w.lab.Host("h4").Wake(w.limit()))
	w.must(w.lab.Host("h4").WakeSecure(w.limit(), net.HardwareAddr{0, 0x11, 0x22, 0x33, 0x44, 0x56}))
	w.await("the card has seen two wrong packets", func() string {
		if h := w.power()["h4"]; h.Ignored != 2 || h.Power != lab.PowerAsleep {
			return fmt.Sprintf("%+v", h)
		}
		return ""
	})
	w.connect("c1", "h4")
	if h := w.power()["h4"]; h.Ignored != 2 || h.Sleeps != 1 {
		t.Errorf("%+v", h)
	}
	w.settled(nil, 3)
	w.sleep("h4")
	w.must(w.lab.Host("h4").WakeSecure(w.limit(), password))
	w.must(w.lab.Host("h4").AwaitPower(w.limit(), lab.PowerUp))
}

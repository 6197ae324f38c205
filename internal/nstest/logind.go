package nstest

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Logind is a real systemd-logind on a bus of its own, the real dbus-daemon, with a real systemd (a user's manager, since another one may be
// this machine's process 1), which makes the scopes of sessions and carries out suspends. All of it is to run in a mount namespace of its
// own, in which /run says that the machine was booted with systemd, which is all that they ask; and /sys/power/state, that the machine can
// suspend, which may not be so. What systemd starts for a suspend is the test's own command.
type Logind struct {
	Dir   string // of the test's own, empty, with a short path: it has a socket in it
	Bus   string // where the bus listens; "" = in Dir
	Sleep string // the command, one word or several; no shell reads it
	Own   bool   // /run is the namespace's own already, and is left as it is
	// DelayMax is for how long this logind lets a suspend wait (InhibitDelayMaxSec).
	DelayMax time.Duration
}

// Address is that of the bus.
func (l Logind) Address() string { return "unix:path=" + l.bus() }

func (l Logind) bus() string { return cmp.Or(l.Bus, filepath.Join(l.Dir, "run", "bus")) }

// Write lays out what it needs and gives the program that runs it, until the end of its standard input; a line there starts logind anew.
func (l Logind) Write() (argv []string, err error) {
	if len(l.bus()) > 100 { // of 108
		return nil, fmt.Errorf("the directory for temporary files is too deep: %s", l.Dir)
	}
	units := filepath.Join(l.Dir, "conf", "systemd", "user")
	for _, d := range []string{units, filepath.Join(l.Dir, "run")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{
		filepath.Join(units, "dbus.socket"):  "[Socket]\nListenStream=" + l.bus() + "\n",
		filepath.Join(units, "dbus.service"): "[Service]\nExecStart=/bin/sh -c 'echo $$$$ >" + l.Dir + "/bus.pid; exec dbus-daemon --config-file=" + l.Dir + "/bus.conf --address=systemd: --nofork --nopidfile'\n",
		filepath.Join(units, "basic.target"): "[Unit]\nWants=dbus.service dbus.socket\n",
		// As systemd's own (units/suspend.target), but for what does it.
		filepath.Join(units, "suspend.target"): "[Unit]\nDefaultDependencies=no\nRequires=sleep.service\nAfter=sleep.service\nStopWhenUnneeded=yes\n",
		filepath.Join(units, "sleep.service"):  "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=" + l.Sleep + "\n",
		filepath.Join(l.Dir, "state"):          "freeze mem\n",
		filepath.Join(l.Dir, "bus.conf"): `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=` + l.bus() + `</listen><auth>EXTERNAL</auth><policy context="default"><allow own="*"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>`,
		filepath.Join(l.Dir, "run.sh"): logindScript,
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	own := ""
	if l.Own {
		own = "yes"
	}
	return []string{
		"env", "OWN=" + own, "DELAY=" + l.DelayMax.String(), "BUS=" + l.bus(), "XDG_RUNTIME_DIR=" + filepath.Join(l.Dir, "run"), "XDG_CONFIG_HOME=" + filepath.Join(l.Dir, "conf"),
		"HOME=" + l.Dir, "DBUS_SESSION_BUS_ADDRESS=" + l.Address(), "bash", filepath.Join(l.Dir, "run.sh"),
	}, nil
}

const logindScript = `set -e
mount --make-rprivate /
[ -n "$OWN" ] || mount -t tmpfs tmpfs /run
[ -e /sys/fs/cgroup/cgroup.procs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p $(dirname $BUS) /run/systemd/system /run/systemd/seats /run/systemd/users /run/systemd/sessions /run/systemd/inhibit /run/systemd/logind.conf.d
printf '[Login]\nInhibitDelayMaxSec=%s\n' $DELAY >/run/systemd/logind.conf.d/test.conf
mount --bind $HOME/state /sys/power/state
/usr/lib/systemd/systemd --user --log-target=console &
manager=$!
trap 'kill -KILL $manager $logind $bus 2>/dev/null; wait' EXIT
until busctl --address=unix:path=$BUS list 2>&1 | grep -q org.freedesktop.systemd1; do kill -0 $manager; sleep 0.05; done
bus=$(cat $HOME/bus.pid)
start() { DBUS_SYSTEM_BUS_ADDRESS=unix:path=$BUS /lib/systemd/systemd-logind & logind=$!; }
start
while read again; do kill -TERM $logind; wait $logind || true; start; done
# the end comes with that of the test, whatever that is
kill -TERM $logind
wait $logind || true
kill -TERM $manager 2>/dev/null || true # it ends what it runs and takes the groups of the sessions away
for i in $(seq 100); do kill -0 $manager 2>/dev/null || break; sleep 0.05; done
`

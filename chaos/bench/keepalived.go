package bench

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"nightporter/chaos/lab"
)

// keepalivedRuns is the command of the hosts of a lab whose agents are keepalived (VRRPv3, all with one priority less than
// the one before), with the interval between adverts in seconds as its argument.
func keepalivedRuns(program string, advert time.Duration) []string {
	return []string{"sh", "-c", fmt.Sprintf(`
cat >{dir}/keepalived.conf <<END
global_defs {
  vrrp_version 3
}
vrrp_instance web {
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority $((200 - 10 * $(echo {node} | tr -d h)))
  advert_int %g
  nopreempt
  virtual_ipaddress {
    %s/24
  }
}
END
exec %s --dont-fork --log-console --use-file {dir}/keepalived.conf --pid {dir}/keepalived.pid --vrrp_pid {dir}/vrrp.pid
`, advert.Seconds(), lab.ServiceAddr(), program)}
}

// keepalivedProgram finds it; "" = it is not installed.
func keepalivedProgram() string {
	for _, name := range []string{"keepalived", "/usr/sbin/keepalived"} { // a plain user's PATH often has no sbin
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// keepalived measures the crash of keepalived's master with the same probe in the same kind of lab.
func keepalived(ctx context.Context, o *Options, program string, advert time.Duration, runs int) ([]Row, error) {
	row := Row{Name: fmt.Sprintf("blackout, client; keepalived, adverts every %v", advert), Unit: "ms"}
	noise := Row{Name: "the probe's own gap", Unit: "ms"}
	lo := lab.Options{Binary: o.Binary, Hosts: crashHosts, Sleepers: []int{}, Agent: keepalivedRuns(program, advert)}
	err := inLab(ctx, lo, func(ctx context.Context, l *lab.Lab) error {
		for i := range runs {
			gap, own, err := keepalivedOnce(ctx, l, advert, spread(i, advert))
			if err != nil {
				return fmt.Errorf("keepalived, run %d: %w", i+1, err)
			}
			o.say("keepalived with adverts every %v, %d of %d: client %v, the probe's own gap %v", advert, i+1, runs, short(gap), short(own))
			row.add(gap)
			noise.add(own)
		}
		return nil
	})
	return []Row{row, noise}, err
}

// keepalivedOnce kills the host that answers and switches it on again. The probe itself says when all is calm.
func keepalivedOnce(ctx context.Context, l *lab.Lab, advert, later time.Duration) (gap, own time.Duration, err error) {
	p, err := startProbe(ctx, l.Client(1), webPort(), crashProbe)
	if err != nil {
		return 0, 0, err
	}
	defer p.end()
	// By then a host that came back has seen adverts, and stays back; it is longer than a takeover, 3 adverts and a part.
	if err := calmFor(ctx, p, 4*advert+500*time.Millisecond, later); err != nil {
		return 0, 0, err
	}
	master := p.answered(time.Now().Add(-justBefore))
	cut, err := l.Host(master).Kill(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := answeredBy(ctx, p, cut, master); err != nil {
		return 0, 0, err
	}
	gap, own = p.around(cut.Add(-justBefore))
	return gap, own, l.Host(master).Start(ctx)
}

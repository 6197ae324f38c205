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

// keepalived measures the crash of keepalived's master with the same probe in the same kind of lab. No samples: it is not
// installed.
func keepalived(ctx context.Context, o *Options, advert time.Duration) (Row, Row, error) {
	row := Row{Name: fmt.Sprintf("blackout, client; keepalived, adverts every %v", advert), Unit: "ms"}
	noise := Row{Unit: "ms"}
	program, err := exec.LookPath("keepalived")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/keepalived"); err != nil {
			return row, noise, nil
		}
	}
	lo := lab.Options{Binary: o.Binary, Hosts: 3, Sleepers: []int{}, Agent: keepalivedRuns(program, advert)}
	err = inLab(ctx, lo, func(ctx context.Context, l *lab.Lab) error {
		for i := range o.Slow {
			gap, own, err := keepalivedOnce(ctx, l, advert)
			if err != nil {
				return fmt.Errorf("keepalived, run %d: %w", i+1, err)
			}
			o.say("keepalived with adverts every %v, %d of %d: client %v", advert, i+1, o.Slow, gap)
			row.add(gap)
			noise.add(own)
		}
		return nil
	})
	return row, noise, err
}

// keepalivedOnce kills the host that answers and switches it on again. The probe itself says when all is calm.
func keepalivedOnce(ctx context.Context, l *lab.Lab, advert time.Duration) (gap, own time.Duration, err error) {
	p, err := startProbe(ctx, l.Client(1), webPort(), crashProbe)
	if err != nil {
		return 0, 0, err
	}
	defer p.end()
	began := time.Now()
	calm := 3*advert + quiet // a host that comes back has seen adverts by then, and stays back
	err = until(ctx, "keepalived's address is answered without a gap", func(context.Context) string {
		now := time.Now()
		if p.answered(now.Add(-100*time.Millisecond)) == "" || now.Sub(began) < calm || p.gap(now.Add(-calm), now.Add(-50*time.Millisecond)) > quiet/5 {
			return "not yet"
		}
		return ""
	})
	if err != nil {
		return 0, 0, err
	}
	master := p.answered(began)
	own = p.gap(time.Now().Add(-quiet), time.Now().Add(-20*time.Millisecond))
	cut, err := l.Host(master).Kill(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := answeredBy(ctx, p, cut, master); err != nil {
		return 0, 0, err
	}
	gap = p.gap(cut.Add(-50*time.Millisecond), time.Now())
	return gap, own, l.Host(master).Start(ctx)
}

package agent

import (
	"strings"
	"testing"

	"nightporter/cluster"
)

func TestTheLinkIsLookedAtAfterwardsToo(t *testing.T) {
	before := ear{true, 7}
	for name, c := range map[string]struct {
		after ear
		deaf  bool
		want  string
	}{
		"somebody spoke":          {ear{true, 8}, false, ""},
		"nobody spoke":            {ear{true, 7}, false, "nothing at all was heard on eth0: this host may be the one that is cut off"},
		"nobody speaks there":     {ear{true, 7}, true, ""},
		"the cable was pulled":    {ear{false, 8}, false, "eth0 has no link"},
		"pulled, and nobody else": {ear{false, 7}, true, "eth0 has no link"},
	} {
		err := before.heard(c.after, "eth0", c.deaf)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestReceivedPackets(t *testing.T) {
	const table = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  123456      99    0    0    0     0          0         0   123456      99    0    0    0     0       0          0
  eth0:    5000      42    0    0    0     0          0         1     7000      77    0    0    0     0       0          0
`
	if n, err := packetsOf(table, "eth0"); n != 42 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := packetsOf(table, "eth"); err == nil {
		t.Error("an interface that is not there has packets")
	}
	if _, err := listensAt("lo"); err != nil {
		t.Error(err)
	}
}

// A sign in gossip says what is to be done where starting agents is no help.
func TestWhatASignSays(t *testing.T) {
	for name, c := range map[string]struct {
		meta     cluster.Meta
		what, do string
	}{
		"a member":       {cluster.Meta{Cluster: "00ff"}, "its agent speaks in gossip", ""},
		"installed anew": {cluster.Meta{}, "was installed anew", "systemctl stop nightporter` there until this is done"},
		"left behind":    {cluster.Meta{Cluster: "0011", Silent: true}, "left behind", "systemctl stop nightporter` there until this is done"},
	} {
		s := signOf(cluster.Member{Name: "b", Meta: c.meta}, true)
		if stranger := signOf(cluster.Member{Name: "x", Meta: c.meta}, false); strings.Contains(stranger.Do, "--reinstalled") {
			t.Errorf("%s: who is no member cannot be named: %+v", name, stranger)
		}
		if !s.Agent || !strings.Contains(s.What, c.what) || (s.Do == "") != (c.do == "") || !strings.Contains(s.Do, c.do) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

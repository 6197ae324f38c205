package failures

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"nightporter/config"
)

// late lets h4 wait until the test lets it go, and the others found without it.
const late = `
all='s/^failover:/bootstrap_expect: 3\n&/'
case {node} in h4) [ -e {dir}/before ] || exec sleep 100000;; esac
`

// A host that cannot belong to the cluster, for whatever reason, is named, kept out, and let in when the reason is gone. Then
// it is a member like the others, and its disk is damaged.
func TestStrangersAndDamagedDisks(t *testing.T) {
	w := found(t, 4, late)
	three, four := []string{"h1", "h2", "h3"}, []string{"h1", "h2", "h3", "h4"}
	holder, epoch := w.whole(three)
	h4 := w.lab.Host("h4")
	w.put("h4", "secret", string(config.NewSecret()))
	for _, c := range []struct {
		name, before, edit string
		there, here        []string // what the stranger says, and what a member says of it
		status             string   // and what both say in their status, first of all; "" = something else
	}{
		{
			"wrong secret", ":", fmt.Sprintf("s|^secret_file:.*|secret_file: %s|", filepath.Join(h4.Dir(), "secret")),
			[]string{"could not be decrypted", "does that host have the same secret file"},
			[]string{"a message from " + h4.Addr().String() + " could not be decrypted: does that host have the same secret file"},
			"cannot be read: this host and they have not the same secret",
		},
		{
			"wrong cluster name", ":", "s|^cluster:.*|cluster: bal|",
			[]string{"could not be decrypted", "and cluster name?"},
			nil, // the same sentence, which comes once in a while
			"cannot be read: this host and they have not the same secret, or not the same name of the cluster",
		},
		{
			"other version", "program=" + newer, "",
			[]string{"speaks protocol 1", "this host 2: upgrade the older one"},
			[]string{"h4 at " + h4.Addr().String(), "speaks protocol 2", "this host 1: upgrade the older one"},
			"",
		},
		{
			"name of another", "name=h3", fmt.Sprintf("s|%[1]s|10.77.0.99|;s|%[2]s|%[1]s|;s|hosts/h3/data|hosts/h4/other|", h4.Addr(), w.lab.Host("h3").Addr()),
			[]string{"two hosts call themselves h3", "give one of them another name"},
			[]string{"a host that calls itself h3 shows another key than the one on record: it is kept out", h4.Addr().String()},
			"",
		},
	} {
		before := w.length("h1")
		w.put("h4", "before", c.before)
		w.put("h4", "edit", c.edit)
		w.stop("h4")
		from := w.start("h4")
		w.says("h4", from, c.there...)
		if c.here != nil {
			w.says("h1", before, c.here...)
		}
		for _, host := range []string{"h1", "h4"} {
			w.await(host+" names it first in its status", func() string {
				st, err := w.ask(host)
				if c.status == "" || err == nil && len(st.Problems) > 0 && strings.HasPrefix(st.Problems[0], "messages of ") && strings.Contains(st.Problems[0], c.status) {
					return ""
				}
				return fmt.Sprintf("%q, %v", st.Problems, err)
			})
		}
		if st, err := w.ask("h1"); err != nil || inTouch(st, "h4") == "" {
			t.Errorf("%s: h4 is a member (%v)", c.name, err)
		}
		if h, e := w.whole(three); h != holder || e != epoch {
			t.Errorf("%s: the holder was %s under epoch %d and is %s under epoch %d", c.name, holder, epoch, h, e)
		}
		t.Logf("%s: told apart", c.name)
	}
	w.put("h4", "before", ":")
	w.put("h4", "edit", "")
	w.stop("h4")
	w.start("h4")
	w.whole(four)
	w.served("")
	if used := w.wire.lastOf("h4"); used.Frame != nil {
		t.Errorf("h4 was never given the identity and used it: %x", used.Frame)
	}
	w.damage("h3", four)
	w.commands(four)
}

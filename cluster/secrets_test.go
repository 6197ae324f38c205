package cluster

import (
	"crypto/ed25519"
	"crypto/x509"
	"slices"
	"testing"
)

// While the secret is changed hosts have the old one, both in either order, or the new one: each accepts those that the rounds let it meet.
func TestKeysWhileTheSecretIsChanged(t *testing.T) {
	derive := func(secret string) Keys {
		k, err := DeriveKeys([]byte(secret), "home")
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	before, after := derive("the old secret, the old secret!!"), derive("the new secret, the new secret!!")
	hosts := map[string]Keys{"old": before, "old, new": before.Also(after), "new, old": after.Also(before), "new": after}
	ids := map[string]*Identity{}
	for name, keys := range hosts {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		if ids[name], err = NewIdentity(key, keys, "a"); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		a, b string
		meet bool
	}{
		{"old", "old, new", true},
		{"old, new", "new, old", true},
		{"new, old", "new", true},
		{"old", "new, old", false},
		{"old", "new", false},
	} {
		for _, p := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			_, err := ids[p[0]].cert.Leaf.Verify(x509.VerifyOptions{Roots: ids[p[1]].pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			gossip := append(hosts[p[1]].GossipAlso(), hosts[p[1]].Gossip)
			reads := slices.ContainsFunc(gossip, func(k []byte) bool { return string(k) == string(hosts[p[0]].Gossip) })
			if both := err == nil && reads; (err == nil) != reads || c.meet && !both {
				t.Errorf("%q to %q: certificate %v, gossip %v", p[0], p[1], err, reads)
			}
		}
		if !c.meet {
			_, one := ids[c.a].cert.Leaf.Verify(x509.VerifyOptions{Roots: ids[c.b].pool})
			_, other := ids[c.b].cert.Leaf.Verify(x509.VerifyOptions{Roots: ids[c.a].pool})
			if one == nil && other == nil {
				t.Errorf("%q and %q meet", c.a, c.b)
			}
		}
	}
	if got := before.Also(after).IDs(); len(got) != 2 || got[0] == got[1] || got[0] != before.IDs()[0] || len(got[0]) != 2*secretIDBytes {
		t.Errorf("the short names are %v", got)
	}
}

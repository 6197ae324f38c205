package main

import (
	"slices"
	"strings"
	"testing"
)

// A round names the secret that it means: done twice it undoes nothing, and the secret in use is never forgotten.
func TestASecretIsMeantByItsName(t *testing.T) {
	use, drop := useSecret, dropSecret
	for name, c := range map[string]struct {
		round       func(have [][]byte, ids []string, id string) ([][]byte, error)
		has, id     string
		want        string
		refusedWith string
	}{
		"use the new one":                {use, "old new", "new", "new old", ""},
		"use it once more":               {use, "new old", "new", "new old", ""},
		"use the only one":               {use, "new", "new", "new", ""},
		"call the change off":            {use, "new old", "old", "old new", ""},
		"use before add":                 {use, "old", "new", "", "one secret only (old)"},
		"use of a stranger":              {use, "old new", "other", "", "no secret other: it has old, then new"},
		"drop the old one":               {drop, "new old", "old", "new", ""},
		"drop after a forgotten round 2": {drop, "old new", "old", "", "old is the secret that is in use here"},
		"drop the one in use":            {drop, "new old", "new", "", "new is the secret that is in use here"},
		"call round 1 off":               {drop, "old new", "new", "old", ""},
		"drop the only one":              {drop, "new", "new", "", "none to forget"},
		"drop once more":                 {drop, "new", "old", "", "none to forget"},
		"drop of a stranger":             {drop, "new old", "other", "", "no secret other"},
	} {
		t.Run(name, func(t *testing.T) {
			ids := strings.Fields(c.has)
			var have [][]byte
			for _, id := range ids {
				have = append(have, []byte(id))
			}
			made, err := c.round(have, ids, c.id)
			if c.refusedWith != "" {
				if err == nil || !strings.Contains(err.Error(), c.refusedWith) {
					t.Fatalf("%v, want %q", err, c.refusedWith)
				}
				return
			}
			var got []string
			for _, s := range made {
				got = append(got, string(s))
			}
			if err != nil || !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("%v, %v, want %s", got, err, c.want)
			}
		})
	}
}

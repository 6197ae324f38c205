package doctor

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"nightporter/api"
)

// docFile shows the catalogue between its marks. NIGHTPORTER_WRITE_DOCS=1 writes it anew.
const (
	docFile  = "../docs/doctor.md"
	docBegin = "<!-- findings: written by `NIGHTPORTER_WRITE_DOCS=1 go test ./doctor` -->\n"
	docEnd   = "<!-- end of findings -->\n"
)

// drawn is the catalogue for people.
func drawn() string {
	var b strings.Builder
	for _, area := range append([]string{""}, Areas...) {
		heading := area
		if area == "" {
			heading = "any area"
		}
		fmt.Fprintf(&b, "\n## %s\n", heading)
		for _, e := range Catalogue() {
			if e.Area == area {
				fmt.Fprintf(&b, "\n### %s\n\n*%s.* %s\n\n- **Why it matters:** %s\n- **What mends it:** %s\n- **Source:** %s\n", e.Name, levels[e.Level], e.What, e.Why, e.Fix, e.Source)
			}
		}
	}
	return b.String() + "\n"
}

var levels = map[api.Level]string{api.Fail: "Failure", api.Warn: "Warning", api.Note: "Note"}

func TestTheDocsHaveAllFindings(t *testing.T) {
	raw, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), docBegin)
	_, tail, found := strings.Cut(rest, docEnd)
	if !ok || !found {
		t.Fatalf("%s lacks the marks %q and %q", docFile, docBegin, docEnd)
	}
	want := head + docBegin + drawn() + docEnd + tail
	if os.Getenv("NIGHTPORTER_WRITE_DOCS") != "" {
		if err := os.WriteFile(docFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(raw) {
		t.Errorf("%s does not show the catalogue as it is; run NIGHTPORTER_WRITE_DOCS=1 go test ./doctor", docFile)
	}
}

// Every entry of the catalogue is complete and is found by a case of the tables, and the source asks for no other.
func TestTheCatalogueIsComplete(t *testing.T) {
	var tested []string
	for _, c := range cases {
		tested = append(tested, c.name)
	}
	for _, c := range togetherCases {
		tested = append(tested, c.name)
	}
	var source bytes.Buffer
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".go") && !strings.HasPrefix(f.Name(), "entries_") && !strings.HasSuffix(f.Name(), "_test.go") {
			raw, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			source.Write(raw)
		}
	}
	seen := make(map[string]bool)
	for _, e := range Catalogue() {
		switch {
		case seen[e.Name]:
			t.Errorf("%s is there twice", e.Name)
		case e.What == "" || e.Why == "" || e.Fix == "" || e.Source == "" || levels[e.Level] == "" || e.Area != "" && !slices.Contains(Areas, e.Area):
			t.Errorf("%s is not complete: %+v", e.Name, e)
		case !slices.Contains(tested, e.Name):
			t.Errorf("no case of the tables finds %s", e.Name)
		case !strings.Contains(source.String(), `"`+e.Name+`"`):
			t.Errorf("nothing in the source finds %s", e.Name)
		}
		seen[e.Name] = true
	}
	for _, name := range tested {
		if !seen[name] {
			t.Errorf("the catalogue lacks %s", name)
		}
	}
}

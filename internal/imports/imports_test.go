// Package imports holds the tests of the source tree itself: who may import whom, how long a file may be, and that
// nothing in the tree names a place outside it.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "nightporter/"

// allowed is the import table of docs/design.md: by top-level folder, the folders of ours that it may import, or
// single packages of a folder. The folder's own packages may always import each other.
var allowed = map[string][]string{
	"cmd":       {"agent", "api", "config", "chaos", "doctor", "setup"},
	"agent":     {"cluster", "lease", "fsm", "identity", "wake", "health", "front", "idle", "login", "api", "config", "doctor", "metrics", "web", "internal/labpage", "internal/mutant"},
	"cluster":   {"fsm", "lease", "internal/mutant"},
	"chaos":     {"api", "fsm", "config", "internal/labpage", "internal/markup", "internal/mutant"},
	"fsm":       {"internal/mutant"},
	"lease":     {"internal/mutant"},
	"identity":  {"internal/mutant"},
	"wake":      {},
	"health":    {},
	"front":     {"internal/markup"},
	"idle":      {},
	"login":     {},
	"metrics":   {},
	"web":       {},
	"config":    {"internal/spelling"},
	"doctor":    {"api", "cluster", "config", "identity", "wake"},
	"setup":     {"config"},
	"api":       {"internal/spelling"},
	"packaging": {},
	"internal":  {"agent", "api", "chaos", "cluster", "config", "fsm", "identity", "idle", "lease", "login", "wake"},
}

// testsMayImport is what any package's tests may import besides: the harnesses for network namespaces and for a browser, and certificates.
var testsMayImport = []string{"internal/nstest", "internal/browser", "internal/testcert"}

// listed is what `go list -json` tells about a package.
type listed struct {
	ImportPath, Dir                    string
	Imports, TestImports, XTestImports []string
}

// tree is the module's root folder.
func tree(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func packages(t *testing.T, dir string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = dir
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, words.String())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// folder is the top-level folder of a package of ours, "" for one of others.
func folder(importPath string) string {
	rest, ours := strings.CutPrefix(importPath, module)
	if !ours {
		return ""
	}
	top, _, _ := strings.Cut(rest, "/")
	return top
}

// offences finds what a package imports and must not.
func offences(p listed) []string {
	from := folder(p.ImportPath)
	may, known := allowed[from]
	if !known {
		return []string{p.ImportPath + " is in a folder that the import table does not know"}
	}
	var out []string
	judge := func(imports, extra []string, what string) {
		for _, path := range imports {
			to := folder(path)
			pkg := strings.TrimPrefix(path, module)
			if to == "" || to == from || slices.Contains(may, to) || slices.Contains(may, pkg) || slices.Contains(extra, pkg) {
				continue
			}
			out = append(out, p.ImportPath+what+" imports "+path)
		}
	}
	judge(p.Imports, nil, "")
	judge(p.TestImports, testsMayImport, " (test)")
	judge(p.XTestImports, testsMayImport, " (test)")
	return out
}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	all := packages(t, tree(t))
	if len(all) < 5 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	for _, p := range all {
		for _, o := range offences(p) {
			t.Error(o)
		}
	}
}

// The table has teeth: each of these is found.
func TestOffencesAreFound(t *testing.T) {
	for _, p := range []listed{
		{ImportPath: "nightporter/lease", Imports: []string{"nightporter/fsm"}},
		{ImportPath: "nightporter/chaos/lab", Imports: []string{"nightporter/agent"}},
		{ImportPath: "nightporter/wake", Imports: []string{"nightporter/internal/nstest"}},
		{ImportPath: "nightporter/wake", XTestImports: []string{"nightporter/config"}},
		{ImportPath: "nightporter/agent", Imports: []string{"nightporter/internal/sim"}},
		{ImportPath: "nightporter/common"},
	} {
		if len(offences(p)) != 1 {
			t.Errorf("%+v gives %v", p, offences(p))
		}
	}
	fine := listed{ImportPath: "nightporter/wake", Imports: []string{"net", "github.com/mdlayher/wol"}, TestImports: []string{"nightporter/internal/nstest"}}
	if o := offences(fine); len(o) != 0 {
		t.Errorf("found %v", o)
	}
}

// sources calls f for every text file of the tree that is the project's own.
func sources(t *testing.T, f func(path string, data []byte)) {
	t.Helper()
	root := tree(t)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == "dist" || name == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.IndexByte(data[:min(len(data), 8000)], 0) < 0 {
			f(rel, data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lineLimit is where a file stops being one idea.
const lineLimit = 500

func TestFilesAreShort(t *testing.T) {
	seen := 0
	sources(t, func(path string, data []byte) {
		if filepath.Ext(path) != ".go" {
			return
		}
		seen++
		if n := bytes.Count(data, []byte("\n")); n > lineLimit {
			t.Errorf("%s has %d lines, more than %d: is it still one idea?", path, n, lineLimit)
		}
	})
	if seen == 0 {
		t.Error("no source file found")
	}
}

// A place that only exists where this was written: a fresh clone elsewhere has none of them.
var (
	climb = regexp.MustCompile(`(^|[^\w./-])((\.\./)+[\w-]+)`)
	homes = regexp.MustCompile(`(^|[^\w./-])(/(root|home)/\w+/)`)
)

// outside finds in a line of the file at path, which is relative to the tree's root, a place outside the tree; "" = none.
func outside(path, line string) string {
	if m := homes.FindStringSubmatch(line); m != nil {
		return m[2]
	}
	for _, m := range climb.FindAllStringSubmatch(line, -1) {
		if !filepath.IsLocal(filepath.Join(filepath.Dir(path), m[2])) {
			return m[2]
		}
	}
	return ""
}

func TestNothingNamesAPlaceOutsideTheTree(t *testing.T) {
	sources(t, func(path string, data []byte) {
		if path == filepath.Join("internal", "imports", "imports_test.go") {
			return // the examples below
		}
		for i, line := range strings.Split(string(data), "\n") {
			if m := outside(path, line); m != "" {
				t.Errorf("%s:%d names %q, which a fresh clone does not have", path, i+1, m)
			}
		}
	})
}

func TestOutsideFindsWhatItIsMeantTo(t *testing.T) {
	for line, want := range map[string]bool{
		"see ../../notes/kernel.md":     true,
		"in ../../../papers/seeds":      true,
		"`/home/me/project/x`":          true,
		"read /root/go/pkg/mod":         true,
		"gossip is shared by all":       false,
		"artwork/main.png and net/work": false,
		"../wake/edge.go":               false,
		"/etc/nightporter/secret":       false,
		"the home/of/it":                false,
	} {
		if got := outside(filepath.Join("agent", "run.go"), line) != ""; got != want {
			t.Errorf("%q: got %v, want %v", line, got, want)
		}
	}
}

package api

import (
	"cmp"
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// answers are what the verbs print with -o json, by the name under which docs/json.md has them.
var answers = []struct {
	name, verb string
	of         any
}{
	{"status", "`nightporter status -o json`; with `--watch` one object per line", Status{}},
	{"members", "`nightporter members -o json`, a list", NodeStatus{}},
	{"get", "`nightporter get -o json`, a list", Service{}},
	{"why-node", "`nightporter why NODE -o json`", Why{}},
	{"why-service", "`nightporter why SERVICE -o json`", ServiceWhy{}},
	{"history", "`nightporter history [SERVICE|NODE] -o json`", History{}},
	{"event", "`nightporter events -o json`, one object per line", Event{}},
	{"wakes", "`nightporter wakes -o json`", Wakes{}},
	{"report", "`nightporter report -o json`", Report{}},
	{"doctor", "`nightporter doctor -o json`, with `--peers` of all nodes; docs/doctor.md has the findings", DoctorReport{}},
	{"restore", "`nightporter restore FILE -o json`, with `--diff` or without", Restored{}},
	{"error", "any verb that fails, on standard error", Error{}},
}

// field is one line of the contract.
type field struct{ path, kind, meaning string }

// fields walks a type as encoding/json does.
func fields(t *testing.T, prefix string, of reflect.Type, words map[string]string) (out []field) {
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Anonymous {
			out = append(out, fields(t, prefix, f.Type, words)...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			t.Fatalf("%s.%s has no name in JSON", of.Name(), f.Name)
		}
		path, kind, inner := prefix+name, "", f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		kind = kindOf(inner)
		if strings.Contains(options, "omit") {
			kind += ", may be absent"
		}
		out = append(out, field{path, kind, cmp.Or(words[of.Name()+"."+f.Name], plainWords[of.Name()+"."+f.Name])})
		if inner.Kind() == reflect.Slice && kindOf(inner) == "list of objects" {
			path, inner = path+"[]", inner.Elem()
		}
		if inner.Kind() == reflect.Struct && kindOf(inner) == "object" {
			out = append(out, fields(t, path+".", inner, words)...)
		}
	}
	return out
}

// kindOf is how a type stands in JSON.
func kindOf(t reflect.Type) string {
	text := reflect.TypeFor[encoding.TextMarshaler]()
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time"
	case t == reflect.TypeFor[Duration]():
		return "seconds"
	case t.Implements(text):
		return "text"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Uint16:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Map:
		return "object of " + kindOf(t.Elem()) + "s by text"
	case reflect.Slice:
		return "list of " + kindOf(t.Elem()) + "s"
	}
	return "object"
}

// comments reads what stands beside the fields in the source.
func comments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					words := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
					for _, name := range f.Names {
						out[spec.Name.Name+"."+name.Name] = words
					}
				}
			}
			return true
		})
	}
	return out
}

// A field that scripts read must not vanish, and must not become something else: not even with -update. What is new is added with -update.
func TestContractIsKept(t *testing.T) {
	path := filepath.Join("testdata", "contract.txt")
	var now []string
	for _, a := range answers {
		for _, f := range fields(t, a.name+": ", reflect.TypeOf(a.of), nil) {
			now = append(now, f.path+" "+f.kind)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	was := strings.Split(strings.TrimSpace(string(stored)), "\n")
	for _, line := range was {
		if line != "" && !slices.Contains(now, line) {
			t.Errorf("%q is in the contract, and is no more so in the answer", line)
		}
	}
	if t.Failed() {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(now, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, line := range now {
		if !slices.Contains(was, line) {
			t.Errorf("%q is new: `go test ./api -update` takes it into the contract", line)
		}
	}
}

const documentIntro = `# The JSON of the command line

Every verb prints JSON with ` + "`-o json`" + `. The keys below are a contract: within one major version a key is never renamed, never changes
its kind or its meaning and is never removed; new ones may come, so a reader passes over what he does not know. A test compares them with
` + "`api/testdata/contract.txt`" + `. Where a list is inside, ` + "`[]`" + ` stands for each of its entries.

| Kind | What it is |
|---|---|
| text | a JSON string; "" = not known, or there is none. Addresses, ports ("8080/tcp") and MACs are text |
| whole number, number | a JSON number; 0 = not known, or there is none, where nothing else is said |
| seconds | a JSON number of seconds with fractions: 0.3 is 300 ms |
| time | RFC 3339 in UTC; 0001-01-01T00:00:00Z = never, or not known |
| list | a JSON list, never null; empty = there are none |
| may be absent | the key is left out where it does not apply |

Times in records come from the clock of the host that decided it; lists of changes stand in the order of the log, which is the true one.
This page is made from the source: ` + "`go test ./api -run Documented -update`" + `.
`

// Every key is documented, by the words that stand beside it in the source.
func TestJSONIsDocumented(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(documentIntro)
	words := comments(t)
	for _, a := range answers {
		fmt.Fprintf(&doc, "\n## %s\n\n%s.\n\n| Key | Kind | Meaning |\n|---|---|---|\n", a.name, a.verb)
		for _, f := range fields(t, "", reflect.TypeOf(a.of), words) {
			if f.meaning == "" {
				t.Errorf("%s: %s has no comment in the source that says what it is", a.name, f.path)
			}
			fmt.Fprintf(&doc, "| `%s` | %s | %s |\n", f.path, f.kind, strings.ReplaceAll(f.meaning, "|", "\\|"))
		}
	}
	path := filepath.Join("..", "docs", "json.md")
	if *update && !t.Failed() {
		if err := os.WriteFile(path, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(stored) != doc.String() {
		t.Errorf("%s is not what the source says: `go test ./api -run Documented -update` makes it anew", path)
	}
}

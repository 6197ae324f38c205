package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The example, which is also nightporter.yaml(5), has every key that the reader takes. The reader's are found in its source: the keys of
// all maps of type `fields`.
func TestTheExampleHasEveryKey(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]string)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if name, ok := lit.Type.(*ast.Ident); !ok || name.Name != "fields" {
				return true
			}
			for _, e := range lit.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					if key, ok := kv.Key.(*ast.BasicLit); ok {
						word, err := strconv.Unquote(key.Value)
						if err != nil {
							t.Fatal(err)
						}
						keys[word] = file
					}
				}
			}
			return true
		})
	}
	if len(keys) < 50 {
		t.Fatalf("only %d keys were found in the reader: %v", len(keys), keys)
	}
	for key, file := range keys {
		if !regexp.MustCompile(`(?m)(^|[\s{"])` + regexp.QuoteMeta(key) + `"?:`).MatchString(Example()) {
			t.Errorf("the example has no word about %q (%s)", key, file)
		}
	}
}

package agent

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// variable is what stands in the documentation, and in a format, for what is named there.
var variable = regexp.MustCompile(`\b(NAME|SERVICE|HOST|ADDRESS|REASON|N sources|N)\b|%[a-z]`)

// firstPiece is the first piece of a sentence that tells it from others.
func firstPiece(sentence string) string {
	for _, piece := range variable.Split(sentence, -1) {
		if piece = strings.Trim(piece, " :,("); len(piece) > 8 {
			return piece
		}
	}
	return ""
}

// The list of what is wrong in docs/operations.md has what status says, and nothing that it does not say.
func TestEveryProblemIsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(raw), "### What the lines with `!` mean\n")
	section, _, _ = strings.Cut(section, "\n###")
	if !found {
		t.Fatal("the section is not there")
	}
	var lines []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\| ").FindAllStringSubmatch(section, -1) {
		for _, line := range strings.Split(row[1], "`, `") {
			lines = append(lines, strings.Trim(line, "`"))
		}
	}
	all := sources(t, "*.go", "../cluster/disk.go", "../cluster/delegates.go", "../identity/host.go")
	for _, line := range lines {
		if piece := firstPiece(line); piece != "" && !strings.Contains(all, piece) {
			t.Errorf("nothing says %q (%q)", line, piece)
		}
	}
	said := saidIn(t, "problems.go")
	if len(lines) < 40 || len(said) < 15 {
		t.Fatalf("only %d lines and %d sentences were found", len(lines), len(said))
	}
	for _, sentence := range said {
		known := false
		for _, line := range lines {
			piece := firstPiece(line)
			known = known || piece != "" && strings.Contains(sentence, piece)
		}
		if !known {
			t.Errorf("docs/operations.md does not have %q", sentence)
		}
	}
}

// sources are the texts of files, with the verbs of formats as they are.
func sources(t *testing.T, patterns ...string) string {
	var out strings.Builder
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", p, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(raw)
		}
	}
	return out.String()
}

// saidIn are the sentences that a file tells as troubles, with "NAME" for what is put in.
func saidIn(t *testing.T, file string) (out []string) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			name = f.Sel.Name
		}
		if name != "tell" && name != "say" || len(call.Args) < 2 {
			return true
		}
		for _, arg := range call.Args[1:] {
			if s := words(arg); firstPiece(s) != "" {
				out = append(out, s)
			}
		}
		return true
	})
	return out
}

// words gives the literal text of an expression.
func words(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(x.Value) // the parser has read it
		return s
	case *ast.BinaryExpr:
		return words(x.X) + words(x.Y)
	case *ast.CallExpr:
		if f, ok := x.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			return words(x.Args[0])
		}
	}
	return "NAME"
}

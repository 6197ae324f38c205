package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// place is where something stands in the file; the zero place is the file as a whole.
type place struct{ line, column int }

// value is something read from the file together with where it stood. A value that was not in the file, or was no good,
// is not set.
type value[T any] struct {
	v   T
	at  place
	set bool
}

// or gives the value, or def when there is none.
func (x value[T]) or(def T) T {
	if x.set {
		return x.v
	}
	return def
}

// reader walks the syntax tree of one file and collects everything that is wrong with it. The YAML library's own strict
// decoding stops at the first mistake; this is why the tree is read here.
type reader struct {
	name     string
	lines    []string
	anchors  map[string]ast.Node
	problems []Problem
}

// parse makes the syntax tree; nil when the file is no YAML or is empty.
func parse(name string, data []byte) (*reader, ast.Node) {
	r := &reader{name: name, lines: strings.Split(string(data), "\n"), anchors: map[string]ast.Node{}}
	// Duplicate keys are let through here so that they are reported with everything else, and not alone.
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, message := place{}, err.Error()
		if e, ok := errors.AsType[yaml.Error](err); ok {
			message = e.GetMessage()
			if tk := e.GetToken(); tk != nil && tk.Position != nil {
				at = place{tk.Position.Line, tk.Position.Column}
			}
		}
		r.problem(at, "this is not valid YAML: %s", message)
		return r, nil
	}
	docs := file.Docs
	if len(docs) > 1 {
		r.problem(placeOf(docs[1].Body), "a second document begins here; keep everything in one, without a `---` line between")
	}
	if len(docs) == 0 || docs[0].Body == nil || docs[0].Body.Type() == ast.CommentType {
		r.problem(place{}, "the file is empty; `nightporter config example` prints one to start from")
		return r, nil
	}
	ast.Walk(anchorCollector(r.anchors), docs[0].Body)
	return r, docs[0].Body
}

// anchorCollector remembers every `&name`, for the aliases.
type anchorCollector map[string]ast.Node

// Visit implements ast.Visitor.
func (c anchorCollector) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok {
		c[a.Name.GetToken().Value] = a.Value
	}
	return c
}

// plain takes anchors, aliases and tags off a node. An alias inside its own anchor ends as the alias itself.
func (r *reader) plain(n ast.Node) ast.Node {
	for range 16 {
		switch x := n.(type) {
		case *ast.AnchorNode:
			n = x.Value
		case *ast.AliasNode:
			target, ok := r.anchors[x.Value.GetToken().Value]
			if !ok {
				return n
			}
			n = target
		case *ast.TagNode:
			n = x.Value
		default:
			return n
		}
	}
	return n
}

// placeOf finds where a node begins. A mapping's own token is its first colon, so its first key is taken instead.
func placeOf(n ast.Node) place {
	switch x := n.(type) {
	case nil:
		return place{}
	case *ast.MappingNode:
		if len(x.Values) > 0 && !x.IsFlowStyle {
			return placeOf(x.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return placeOf(x.Key)
	case *ast.SequenceNode:
		if !x.IsFlowStyle && x.Start == nil && len(x.Values) > 0 {
			return placeOf(x.Values[0])
		}
	}
	tk := n.GetToken()
	if tk == nil || tk.Position == nil {
		return place{}
	}
	return place{tk.Position.Line, tk.Position.Column}
}

// problem adds one finding.
func (r *reader) problem(at place, format string, args ...any) {
	p := Problem{File: r.name, Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...)}
	if at.line > 0 && at.line <= len(r.lines) {
		p.Source = strings.TrimRight(r.lines[at.line-1], "\r")
	}
	r.problems = append(r.problems, p)
}

// fields says how each key of a mapping is read.
type fields map[string]func(key place, n ast.Node)

// mapping reads a mapping whose keys are fixed: an unknown or repeated one is a problem. what names the mapping.
func (r *reader) mapping(n ast.Node, what string, f fields) {
	r.entries(n, what, func(key string, at place, v ast.Node) {
		read, ok := f[key]
		if !ok {
			r.problem(at, "unknown key %q in %s; %s", key, what, keyHint(key, f))
			return
		}
		read(at, v)
	})
}

// entries reads a mapping whose keys are names, in the file's order. A repeated one is a problem.
func (r *reader) entries(n ast.Node, what string, each func(key string, at place, v ast.Node)) {
	m, ok := r.plain(n).(ast.MapNode)
	if !ok {
		if r.plain(n).Type() != ast.NullType {
			r.problem(placeOf(n), "%s must be `key: value` lines, not %s", what, describe(r.plain(n)))
		}
		return
	}
	seen := map[string]place{}
	for it := m.MapRange(); it.Next(); {
		at := placeOf(it.Key())
		key := it.Key().GetToken().Value
		if first, dup := seen[key]; dup {
			r.problem(at, "%q stands here a second time (first in line %d); keep one of the two", key, first.line)
			continue
		}
		seen[key] = at
		each(key, at, it.Value())
	}
}

// list reads a sequence; a single value counts as a list of one.
func (r *reader) list(n ast.Node, each func(ast.Node)) {
	switch x := r.plain(n).(type) {
	case *ast.SequenceNode:
		for _, v := range x.Values {
			each(v)
		}
	case *ast.NullNode:
	default:
		each(n)
	}
}

// text reads a scalar as it stands in the file. want says what belongs there.
func (r *reader) text(n ast.Node, want string) value[string] {
	at := placeOf(n)
	switch x := r.plain(n).(type) {
	case *ast.StringNode:
		if s := strings.TrimSpace(x.Value); s != "" {
			return value[string]{s, at, true}
		}
		r.problem(at, "there is nothing here; write %s", want)
	case *ast.LiteralNode:
		return value[string]{strings.TrimSpace(x.Value.Value), at, true}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return value[string]{x.GetToken().Value, at, true}
	case *ast.NullNode:
		r.problem(at, "there is nothing here; write %s", want)
	case *ast.AliasNode:
		r.problem(at, "there is no anchor &%s before this alias; write %s", x.Value.GetToken().Value, want)
	default:
		if colonWithin(x) {
			r.problem(at, "this has a colon and stands between braces, so YAML reads it as a mapping; put it in quotes")
			break
		}
		r.problem(at, "%s does not belong here; write %s", describe(x), want)
	}
	return value[string]{}
}

// colonWithin says whether it is a text like 07:00 or 2001:db8::1 that the reader of YAML took for a mapping, as it does between braces.
func colonWithin(n ast.Node) bool {
	if m, ok := n.(*ast.MappingNode); ok {
		if len(m.Values) != 1 || m.GetToken().Value == "{" { // with a brace of its own it was meant
			return false
		}
		n = m.Values[0]
	}
	pair, ok := n.(*ast.MappingValueNode)
	if !ok || pair.Start == nil || pair.Value == nil || pair.Value.GetToken() == nil {
		return false
	}
	colon, next := pair.Start.Position, pair.Value.GetToken().Position
	return next.Line == colon.Line && next.Column == colon.Column+1
}

func describe(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.AliasNode:
		return "an alias without an anchor"
	}
	return "a single value"
}

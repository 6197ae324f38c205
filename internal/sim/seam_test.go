package sim

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nightporter/agent"
)

// What the simulation may name of the agent's package: the function that the command calls, what it replaces, and the types
// that its replacements give back.
var seam = []string{"Run", "Deps", "Hold", "Peers", "Wire", "Sight", "Mirror", "Estate", "Superseded", "ErrReplaced", "WakeFacts", "LogindLink", "Senses", "Watched"}

// replaced is all that agent.Deps names, and Version, Log. A new field is a decision to be made here, too.
var replaced = []string{"Version", "Log", "Clock", "Kernel", "Power", "Caller", "Checks", "Hook", "Hooks", "Post", "Listen", "Front", "Reach", "WakeTimes", "Falls", "Uses", "Logind", "Senses", "Net", "Web", "Disk", "Former", "Examine", "Ready", "Watchdog"}

// uses lists what files name of a package, with where.
func uses(t *testing.T, pattern, pkg string) (names []string, calls, made int) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files match %s: %v", pattern, err)
	}
	of := func(n ast.Node) string {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return ""
		}
		if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
			return s.Sel.Name
		}
		return ""
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if name := of(n); name != "" {
				names = append(names, name)
			}
			switch n := n.(type) {
			case *ast.CallExpr:
				if of(n.Fun) == "Run" {
					calls++
				}
			case *ast.CompositeLit:
				if n.Type != nil && of(n.Type) == "Deps" {
					made++
				}
			}
			return true
		})
	}
	slices.Sort(names)
	return slices.Compact(names), calls, made
}

// TestTheAgentIsStartedAsTheCommandStartsIt: agent.Run with agent.Deps, in one place each, and nothing else of the agent.
func TestTheAgentIsStartedAsTheCommandStartsIt(t *testing.T) {
	names, calls, made := uses(t, "*.go", "agent")
	for _, n := range names {
		if !slices.Contains(seam, n) {
			t.Errorf("the simulation uses agent.%s", n)
		}
	}
	if calls != 1 || made != 1 {
		t.Errorf("agent.Run is called in %d places and agent.Deps made in %d, want one each", calls, made)
	}
	if _, commands, _ := uses(t, filepath.Join("..", "..", "cmd", "nightporter", "agent.go"), "agent"); commands != 1 {
		t.Errorf("the command calls agent.Run in %d places: does it still start the agent so?", commands)
	}
	var fields []string
	for f := range reflect.TypeFor[agent.Deps]().Fields() {
		fields = append(fields, f.Name)
	}
	if !slices.Equal(fields, replaced) {
		t.Errorf("agent.Deps has %v, the simulation replaces %v", fields, replaced)
	}
}

// TestOnlyTheOutsideIsReplaced: of the packages below the agent the simulation uses values and what the agent hands to it to
// be opened, never a decision.
func TestOnlyTheOutsideIsReplaced(t *testing.T) {
	for pkg, may := range map[string][]string{
		"lease":    {"Boot", "Sight", "Table"},
		"cluster":  {"Dial", "Directory", "Gossip", "GossipConfig", "Identity", "Keys", "Mark", "NewIdentity", "NewTransport", "Past", "RaftConfig", "StartGossip", "Stores"},
		"fsm":      {"Check", "CheckUnit", "OperatorMoved", "Service"},
		"identity": {"Answer", "Drift", "Fence", "Foreign", "Heirloom", "LAN", "Legacy", "Spec", "Stir"},
		"wake":     {"Demand", "Flow", "Guard", "Owed", "Refusals"},
	} {
		names, _, _ := uses(t, "*.go", pkg)
		for _, n := range names {
			if !slices.Contains(may, n) {
				t.Errorf("the simulation uses %s.%s", pkg, n)
			}
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"

	"nightporter/agent"
)

// What is asked, and what an answer leads to: nothing is changed unless every other host was named and the last word was right.
func TestRecoverAsks(t *testing.T) {
	rep := agent.WreckReport{
		Node: "c", Cluster: "home", ID: "00ff", Index: 7, Term: 2, Voters: []string{"a", "b", "c"}, Listen: 22 * time.Second, Least: time.Second,
		Others:   []agent.WreckNode{{Name: "a", Power: "awake", Voter: true}, {Name: "b", Power: "asleep", Voter: true}},
		Services: []agent.WreckService{{Name: "web", Owner: "a", Epoch: 3}},
	}
	alone := rep
	alone.Majority = true
	for name, c := range map[string]struct {
		rep         agent.WreckReport
		says        string // at the terminal
		gone, anew  []string
		yes         bool
		refusedWith string // "" = goes on
	}{
		"walked through":          {rep, "a, b\nhome\n", nil, nil, false, ""},
		"with spaces":             {rep, " a  b \n home \n", nil, nil, false, ""},
		"not asked":               {rep, "", []string{"a", "b"}, []string{"b"}, true, ""},
		"named, and asked once":   {rep, "home\n", []string{"a", "b"}, nil, false, ""},
		"not all":                 {rep, "a\nhome\n", nil, nil, false, "not all other members are gone: b left"},
		"not asked, not all":      {rep, "", nil, nil, true, "not all other members are gone: a, b left"},
		"a stranger":              {rep, "a b x\nhome\n", nil, nil, false, "x is no member: the others are a, b"},
		"itself":                  {rep, "a b c\nhome\n", nil, nil, false, "c is this host"},
		"no answer":               {rep, "", nil, nil, false, "no answer"},
		"no last word":            {rep, "a b\n", nil, nil, false, "no answer"},
		"another last word":       {rep, "a b\nyes\n", nil, nil, false, `"yes" is not home: nothing was changed`},
		"reinstalled, not gone":   {rep, "", []string{"a", "b"}, []string{"d"}, true, "d is named by --reinstalled and not by --gone"},
		"there is nothing to do":  {alone, "a b\nhome\n", nil, nil, false, "has the only vote"},
		"not even with all flags": {alone, "", []string{"a", "b"}, nil, true, "has the only vote"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r := &recovery{
				sh: &shell{out: &out, output: "text"}, report: c.rep, gone: c.gone, reinstalled: c.anew, yes: c.yes,
				answers: bufio.NewScanner(strings.NewReader(c.says)),
			}
			err := r.agree()
			if err == nil {
				err = r.confirm()
			}
			if c.refusedWith == "" && err != nil || c.refusedWith != "" && (err == nil || !strings.Contains(err.Error(), c.refusedWith)) {
				t.Errorf("%v, want %q", err, c.refusedWith)
			}
			if s := out.String(); !c.rep.Majority && !(strings.Contains(s, "Go and look at the machines") && strings.Contains(s, "up to entry 7 of term 2")) {
				t.Errorf("it did not say what it knows and assumes: %s", s)
			}
		})
	}
	r := &recovery{sh: &shell{out: &bytes.Buffer{}, output: "text"}, report: rep, gone: []string{"a", "b"}, listen: time.Millisecond}
	if err := r.agree(); err == nil || !strings.Contains(err.Error(), "may run for 1s") {
		t.Errorf("too short: %v", err)
	}
}

// Who answers keeps a recovery from going on, and what is said to do about it is of help.
func TestRecoverSaysWhatToDo(t *testing.T) {
	machine := agent.Sign{Node: "b", Where: "192.0.2.12:7374", What: "a machine answers there"}
	waits := agent.Sign{Node: "a", Where: "192.0.2.11:7373", What: "installed anew", Do: "stop it", Agent: true}
	if err := answered([]agent.Sign{machine}, []string{"b"}); err != nil {
		t.Errorf("a machine that was named: %v", err)
	}
	if err := answered([]agent.Sign{waits}, []string{"a"}); err == nil || !strings.Contains(err.Error(), "installed anew (stop it)") || strings.Contains(err.Error(), "Start the agents") {
		t.Errorf("an agent that waits: %v", err)
	}
	if err := answered([]agent.Sign{waits, machine}, nil); err == nil || !strings.Contains(err.Error(), "Start the agents there") {
		t.Errorf("both: %v", err)
	}
}

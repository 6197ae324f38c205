// Command fuzzall runs every fuzz target of the module, one after the other, for a given time each: `go test -fuzz`
// takes only one. It stops at the first that finds something; the input that found it stands in the package's testdata.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

func main() {
	each := flag.Duration("fuzztime", 30*time.Second, "how long each target runs")
	flag.Parse()
	if err := fuzz(*each); err != nil {
		fmt.Fprintf(os.Stderr, "fuzzall: %v\n", err)
		os.Exit(1)
	}
}

func fuzz(each time.Duration) error {
	out, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		return fmt.Errorf("list the packages: %w", err)
	}
	found := 0
	for _, pkg := range strings.Fields(string(out)) {
		targets, err := targetsOf(pkg)
		if err != nil {
			return err
		}
		for _, target := range targets {
			found++
			fmt.Printf("== %s %s\n", pkg, target)
			cmd := exec.Command("go", "test", "-run=^$", "-fuzz=^"+target+"$", "-fuzztime="+each.String(), pkg)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%s %s: %w", pkg, target, err)
			}
		}
	}
	fmt.Printf("%d fuzz targets, nothing found\n", found)
	return nil
}

// targetsOf lists the fuzz targets of a package.
func targetsOf(pkg string) ([]string, error) {
	out, err := exec.Command("go", "test", "-list=^Fuzz", pkg).Output()
	if err != nil {
		return nil, fmt.Errorf("list the fuzz targets of %s: %w", pkg, err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name := strings.TrimSpace(line); strings.HasPrefix(name, "Fuzz") {
			names = append(names, name)
		}
	}
	return names, nil
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"nightporter/api"
	"nightporter/config"
)

func applyVerb(sh *shell) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Define or change services",
		Long: `Define or change the services of a file with the one key "services", in the form that "get" prints and
that the configuration file has too. Services that the file does not name stay as they are; "delete"
removes one. The file is tested first, against the LAN of this host, and nothing is changed when
anything in it is wrong.`,
		Example: `  nightporter apply -f services.yaml
  nightporter get | sed s/8080/9090/ | nightporter apply -f -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if path == "" {
				return errors.New("no file is named; write -f FILE, or -f - for standard input")
			}
			return cobra.NoArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, text, err := sh.readFile(path)
			if err != nil {
				return err
			}
			return sh.ask(cmd, func(ctx context.Context, c *api.Client) error {
				status, err := c.Status(ctx)
				if err != nil {
					return err
				}
				services, err := config.LoadServices(name, bytes.NewReader(text), status.LAN.Prefixes)
				if err != nil {
					return err
				}
				a, err := c.Apply(ctx, toAPI(services))
				if err != nil {
					return err
				}
				return sh.show(a, func(p *page) { drawApplied(p, a) })
			})
		},
	}
	cmd.Flags().StringVarP(&path, "filename", "f", "", "the file, or - for standard input")
	return cmd
}

// readFile gives what is in a file, or comes from standard input, and what problems in it call it.
func (sh *shell) readFile(path string) (name string, text []byte, err error) {
	if path == "-" {
		name = "standard input"
		text, err = io.ReadAll(sh.in)
	} else {
		name = path
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", nil, fmt.Errorf("read the services: %w", err)
	}
	return name, text, nil
}

func drawApplied(p *page, a api.Applied) {
	for _, part := range []struct {
		what  string
		names []string
	}{{"created", a.Created}, {"changed", a.Changed}, {"unchanged", a.Unchanged}} {
		if len(part.names) > 0 {
			p.line("%s: %s", part.what, strings.Join(part.names, ", "))
		}
	}
	if len(a.Created)+len(a.Changed)+len(a.Unchanged) == 0 {
		p.line("the file defines no service; nothing was changed")
	}
}

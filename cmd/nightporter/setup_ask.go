package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"nightporter/config"
	"nightporter/setup"
)

// question is one that is asked until its answer makes sense.
type question struct {
	ask    string
	offer  func(setup.Answers) string
	answer func(*setup.Answers, string) error
}

// five are the questions of a first host.
func five(links []setup.Link) []question {
	return []question{
		{
			"The name of this host", func(a setup.Answers) string { return a.Node },
			func(a *setup.Answers, s string) (err error) { a.Node, err = setup.ReadNode(s); return err },
		},
		{
			"Its interface on the LAN (" + listed(links) + ")", func(a setup.Answers) string { return a.Interface },
			func(a *setup.Answers, s string) error {
				if s == a.Interface {
					return nil
				}
				at := slices.IndexFunc(links, func(l setup.Link) bool { return l.Name == s })
				if at < 0 {
					return fmt.Errorf("there is no interface %q with an address; choose one of: %s", s, listed(links))
				}
				a.Interface, a.Addr = s, links[at].Addr()
				return nil
			},
		},
		{
			"The other hosts, like bravo=192.0.2.12 charlie=192.0.2.13; - if there are none yet",
			func(a setup.Answers) string {
				var words []string
				for _, h := range a.Others {
					words = append(words, h.Name+"="+h.Addr.String())
				}
				return cmp.Or(strings.Join(words, " "), "-")
			},
			func(a *setup.Answers, s string) (err error) {
				a.Others, err = setup.ReadHosts(strings.TrimSpace(strings.TrimPrefix(s, "-")))
				return err
			},
		},
		{
			"The first service: name, free address, ports, like nas 192.0.2.200 445/tcp on bravo; - for none yet",
			func(a setup.Answers) string {
				if len(a.Services) == 0 {
					return "-"
				}
				s := a.Services[0]
				return fmt.Sprintf("%s %s %s on %s", s.Name, s.Addr, strings.Join(s.Ports, " "), s.Target)
			},
			func(a *setup.Answers, s string) error {
				one, err := setup.ReadService(strings.TrimSpace(strings.TrimPrefix(s, "-")), a.Node)
				if err == nil {
					a.Services = append(one, a.Services[min(1, len(a.Services)):]...)
				}
				return err
			},
		},
		{
			"May this host sleep? no, yes (when it is told to), or a time like 15m without use after which it does so by itself",
			func(a setup.Answers) string {
				if a.Sleep.May {
					return cmp.Or(a.Sleep.Idle, "yes")
				}
				return "no"
			},
			func(a *setup.Answers, s string) (err error) { a.Sleep, err = setup.ReadSleep(s); return err },
		},
	}
}

func listed(links []setup.Link) string {
	var words []string
	for _, l := range links {
		words = append(words, l.Name+" "+l.Addr().String())
	}
	return strings.Join(words, ", ")
}

// questions asks what the file is to say. An answer that would make a file with a new mistake in it is asked for again.
func (s *setupRun) questions(ctx context.Context, a *setup.Answers) error {
	dir, err := os.MkdirTemp("", "nightporter-setup-")
	if err != nil {
		return fmt.Errorf("make a folder to try the answers in: %w", err)
	}
	defer os.RemoveAll(dir)
	trial := dir + "/secret" // the judge looks at the secret too, which is not made yet
	if err := os.WriteFile(trial, config.NewSecret(), 0o600); err != nil {
		return fmt.Errorf("try the answers: %w", err)
	}
	judge := func(a setup.Answers) []string { return a.Judge(s.flags.path, trial, s.thisMachine()) }
	known := judge(*a)
	for _, q := range five(setup.Links()) {
		for {
			said, err := s.talk.line(ctx, fmt.Sprintf("%s [%s]: ", q.ask, q.offer(*a)))
			if err != nil {
				return err
			}
			next := *a
			err = q.answer(&next, cmp.Or(strings.TrimSpace(said), q.offer(*a)))
			found := judge(next)
			if bad := slices.DeleteFunc(slices.Clone(found), func(p string) bool { return slices.Contains(known, p) }); err == nil && len(bad) > 0 {
				err = errors.New(strings.Join(bad, "\n"))
			}
			if err == nil {
				*a, known = next, found
				break
			}
			fmt.Fprintln(s.err, plainLines(err.Error()))
		}
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"nightporter/api"
)

// retry is the pause between two attempts to reach a daemon that has gone: its restart takes about a second.
const retry = 300 * time.Millisecond

// follow asks again and again until the command is interrupted, which is its regular end. A daemon that goes away is waited for, and both
// are said on standard error; one that was never there ends it.
func (sh *shell) follow(cmd *cobra.Command, ask func(ctx context.Context, c *api.Client) error) error {
	ctx, c := cmd.Context(), api.NewClient(sh.socket)
	reached, lost := false, false
	for {
		one, cancel := context.WithTimeout(ctx, sh.timeout)
		err := ask(one, c)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if lost {
				fmt.Fprintln(sh.err, "nightporter: the daemon answers again")
			}
			reached, lost = true, false
			continue
		case !reached || !passes(err):
			return err
		case !lost:
			lost = true
			fmt.Fprintf(sh.err, "nightporter: %s; waiting for the daemon\n", plain(message(err)))
		}
		pause := time.NewTimer(retry)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// patienceOf is how long one question for news is held open.
func (sh *shell) patienceOf() api.Duration { return api.Duration(min(sh.timeout*2/3, api.WaitMost)) }

// passes says whether a failure is one that a daemon has while it restarts.
func passes(err error) bool {
	return slices.Contains([]api.Code{api.CodeNotRunning, api.CodeUnavailable, api.CodeTimeout, api.CodeNoCluster}, api.CodeOf(err))
}

func message(err error) string {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// showLine prints one value as JSON in a line of its own.
func (sh *shell) showLine(v any) error {
	out := json.NewEncoder(sh.out)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	return nil
}

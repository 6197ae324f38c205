package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"nightporter/chaos/demo"
)

func demoVerb(sh *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "The whole story on four hosts in network namespaces, in under a minute",
		Long: `Build a lab of four hosts, three always on and one (h4) that may sleep and runs the service "web", and tell
what happens, with the time since the beginning in seconds:

  h4 goes to sleep and another host stands in as the front; a client's single connect() waits, h4 wakes
  and answers it; h4 goes back to sleep; the front's host loses its power and another one stands in; a
  client connects again and h4 wakes again. At the end the frames that a watch at the switch has seen
  are checked: never may two hosts use the service's address at once.

This machine's own network is not touched, no root is needed where plain users may make namespaces, and
nothing is left behind, after Ctrl-C neither. When a step fails, the exit code is 1, and the message
says what was expected, what was seen and where the agents' logs are. With -o json every line is an
object.

To try things by hand instead: nightporter lab --help`,
		Args: takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Run(cmd.Context(), demo.Options{Tell: teller(sh.out, sh.output)})
		},
	}
}

// teller writes the time-line as it grows. Nothing is lost for the story when nobody reads it.
func teller(out io.Writer, form string) func(demo.Line) {
	if form == "json" {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return func(l demo.Line) { _ = enc.Encode(l) }
	}
	return func(l demo.Line) {
		if l.Who == "" {
			fmt.Fprintf(out, "\n%s\n", l.Text)
			return
		}
		fmt.Fprintf(out, "%9.3f  %-8s %s\n", l.At.Seconds(), l.Who, l.Text)
	}
}

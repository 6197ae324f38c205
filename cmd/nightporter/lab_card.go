package main

import (
	"context"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"nightporter/chaos/lab"
)

func labCardCommand(dir *string) *cobra.Command {
	var c lab.Card
	var password string
	cmd := &cobra.Command{
		Use:   "card HOST",
		Short: "Set up what wakes a host's network card; every magic packet without flags",
		Example: `  nightporter lab card h4 --deaf
  nightporter lab card h4 --password 00:11:22:33:44:55
  nightporter lab card h4`,
		Args: takes(1, 1, "name one HOST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if password != "" {
				var err error
				if c.Password, err = net.ParseMAC(password); err != nil || len(c.Password) != 6 {
					return usageError{fmt.Errorf("--password is %q; write six bytes like 00:11:22:33:44:55", password)}
				}
			}
			return withLab(cmd, *dir, func(ctx context.Context, l *lab.Lab) error { return l.Card(ctx, args[0], c) })
		},
	}
	cmd.Flags().BoolVar(&c.Deaf, "deaf", false, "nothing wakes it, from the next sleep on")
	cmd.Flags().StringVar(&password, "password", "", "only magic packets with this SecureOn password wake it")
	return cmd
}

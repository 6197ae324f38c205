package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"nightporter/config"
)

func keygenVerb(sh *shell) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a cluster secret",
		Long: `Make a cluster secret: 32 random bytes, from which the keys of gossip and of the certificates are
derived. Make it on one host and copy it to the others over a safe way. With --out it is written
to a new file that only its owner can read; an existing file is never replaced.`,
		Example: `  nightporter keygen --out /etc/nightporter/secret
  nightporter keygen | ssh root@bravo 'umask 077; cat > /etc/nightporter/secret'`,
		Args: takesNone,
		RunE: func(*cobra.Command, []string) error {
			if path == "" {
				_, err := sh.out.Write(config.NewSecret())
				return err
			}
			if err := writeNew(path, config.NewSecret(), "hosts that have it would be locked out; remove it first if you mean it"); err != nil {
				return err
			}
			return sh.show(map[string]string{"secret_file": path}, func(p *page) {
				p.line("wrote %s; copy it to the other hosts, keep its mode 0600", path)
			})
		},
	}
	cmd.Flags().StringVar(&path, "out", "", "write to this new file instead of standard output")
	return cmd
}

// writeNew makes a file of mode 0600 that was not there before; instead is what to do about one that was.
func writeNew(path string, data []byte, instead string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and is not replaced: %s", path, instead)
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return nil
}

//go:build vm

package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"nightporter/chaos/lab"
)

// self is what the guest's server calls itself. The lab's own server at the guest's place has the name of the host.
const self = "guest"

// systemDir names the directory of vmlinuz and root.cpio (make vm-test).
const systemDir = "NIGHTPORTER_VM_SYSTEM"

// The guest's own files beside those that make install puts there.
var guestFiles = map[string]string{
	"etc/hostname":   "h3\n",
	"etc/machine-id": "6e69676874706f72746572000000000a\n",
	"etc/fstab":      "",
	"etc/systemd/network/10-lan.network": `[Match]
Name=eth0
[Network]
Address=10.77.0.13/24
Address=fd77::13/64
`,
	// As the agent advises where a failover is as long as here, and a key that suspends.
	"etc/systemd/logind.conf.d/nightporter.conf": "[Login]\nInhibitDelayMaxSec=30s\nHandlePowerKey=suspend\n",
	"etc/systemd/system/web.service": `[Service]
ExecStart=/usr/local/bin/nightporter lab serve --name ` + self + ` --port 8080
`,
	"etc/systemd/system/shell.service": `[Service]
ExecStart=/bin/bash -c 'stty -echo; echo ` + shellReady + `; while IFS= read -r line; do eval "$$line"; done'
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
Environment=HOME=/root LANG=C.UTF-8 TERM=dumb SYSTEMD_PAGER=cat
Restart=always
`,
}

// enabled are the units of these that the guest starts by itself, and where they are.
var enabled = map[string]string{
	"nightporter.service": "/usr/local/lib/systemd/system/nightporter.service",
	"web.service":         "/etc/systemd/system/web.service",
	"shell.service":       "/etc/systemd/system/shell.service",
}

// furnish writes the guest's initial RAM disk into the directory of its place: Debian, what `make install` installs, and the configuration.
func furnish(ctx context.Context, l *lab.Lab, place *lab.Host, system string, m machine) error {
	tree := filepath.Join(place.Dir(), "tree")
	install := exec.CommandContext(ctx, "make", "-s", "install", "DESTDIR="+tree)
	install.Dir = filepath.Join("..", "..")
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("make install DESTDIR=%s: %w\n%s", tree, err, out)
	}
	text, err := guestConfig(l, m)
	if err != nil {
		return err
	}
	secret, err := os.ReadFile(filepath.Join(l.Dir(), "secret"))
	if err != nil {
		return fmt.Errorf("read the lab's secret: %w", err)
	}
	for _, files := range []map[string]string{guestFiles, m.files} {
		for name, body := range files {
			err = errors.Join(err, write(filepath.Join(tree, name), body, 0o644))
		}
	}
	err = errors.Join(err, write(filepath.Join(tree, "etc/nightporter/secret"), string(secret), 0o600),
		write(filepath.Join(tree, "etc/nightporter/nightporter.yaml"), text, 0o644))
	wants := filepath.Join(tree, "etc/systemd/system/multi-user.target.wants")
	err = errors.Join(err, os.MkdirAll(wants, 0o755))
	for unit, at := range enabled {
		err = errors.Join(err, os.Symlink(at, filepath.Join(wants, unit)))
	}
	if m.program {
		err = errors.Join(err, copyProgram(filepath.Join(tree, cardsProgram)))
	}
	if err != nil {
		return fmt.Errorf("furnish the guest: %w", err)
	}
	return pack(place.Dir(), tree, system, m.archives)
}

// pack makes a guest's initial RAM disk of the archives and what is below tree.
func pack(dir, tree, system string, archives []string) error {
	own, err := archive(tree)
	if err != nil {
		return err
	}
	var all []byte
	for _, name := range archives {
		part, err := os.ReadFile(filepath.Join(system, name))
		if err != nil {
			return fmt.Errorf("read the guest's Debian; `make vm-test` makes it: %w", err)
		}
		all = append(all, part...)
	}
	return os.WriteFile(filepath.Join(dir, "guest.cpio"), append(all, own...), 0o600)
}

func write(path, body string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(body), mode)
}

// guestConfig is the file of the lab without what only a lab has: places on this machine, and its suspend command. So the guest has the default
// ones: /var/lib/nightporter, and `systemctl suspend`. Likewise with other keys that are not to be in it.
func guestConfig(l *lab.Lab, m machine) (string, error) {
	body, err := os.ReadFile(filepath.Join(l.Dir(), "nightporter.yaml"))
	if err != nil {
		return "", fmt.Errorf("read the lab's configuration: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(body)) {
		switch key, _, _ := strings.Cut(strings.TrimSpace(line), ":"); {
		case slices.Contains(m.drop, key), key == "data_dir", key == "checks_dir", key == "suspend_command":
			continue
		case key == "secret_file":
			line = "secret_file: /etc/nightporter/secret\n"
		case key == "power":
			if strings.Contains(line, "sleeps") { // the guest alone
				more := ""
				if m.stayAwake != "" {
					more = ", " + m.stayAwake
				}
				line += fmt.Sprintf("    idle: %v\n    stay_awake: {load: 0, network: 0%s}\n", cmp.Or(m.idle, idle), more)
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, ""), nil
}

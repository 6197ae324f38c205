package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"nightporter/identity"
)

// sysctlsFile keeps what this host's settings were before the first agent of this boot changed them, for `nightporter purge`.
const sysctlsFile = "sysctls.json"

type formerSysctls struct {
	Boot   string            `json:"boot"` // a reboot puts them back by itself
	Values map[string]string `json:"values"`
}

func bootID() (string, error) {
	raw, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("reading this boot's id: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// former gives the record of this boot, or nil.
func (d systemDisk) former() (map[string]string, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(d.inData(sysctlsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var was formerSysctls
	if err == nil {
		err = json.Unmarshal(raw, &was)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the former settings of this host: %w", err)
	}
	if was.Boot != boot {
		return nil, nil
	}
	return was.Values, nil
}

// keepFormer writes down what the settings are, unless an earlier agent of this boot has done it.
func (d systemDisk) keepFormer() error {
	if was, err := d.former(); was != nil || err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	now, err := identity.Sysctls()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(formerSysctls{Boot: boot, Values: now})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.data, 0o700); err != nil {
		return fmt.Errorf("making the directory %s: %w", d.data, err)
	}
	return d.write(sysctlsFile, append(raw, '\n'))
}

// restoreFormer puts the settings back.
func (d systemDisk) restoreFormer() error {
	was, err := d.former()
	if was == nil || err != nil {
		return err
	}
	if err := identity.RestoreSysctls(was); err != nil {
		return err
	}
	if err := os.Remove(d.inData(sysctlsFile)); err != nil {
		return fmt.Errorf("removing the former settings of this host: %w", err)
	}
	return nil
}

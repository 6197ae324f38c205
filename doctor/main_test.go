package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// These tests run in a network and mount namespace of their own, in which /sys shows that network.
const inside = "NIGHTPORTER_TEST_INSIDE"

// root says that the tests are the machine's root.
const root = "NIGHTPORTER_TEST_ROOT"

// asNobody has this program examine an interface and print the report.
const asNobody = "NIGHTPORTER_TEST_NOBODY"

func TestMain(m *testing.M) {
	if os.Getenv(asNobody) != "" {
		report, err := json.Marshal(Examine(context.Background(), Host{Path: "/nowhere", Problem: os.ErrNotExist, Interface: os.Getenv(asNobody), Trial: true}))
		fmt.Println(string(report), err)
		os.Exit(0)
	}
	if os.Getenv(inside) != "" {
		for _, f := range []func() error{
			func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
			func() error { return unix.Mount("sysfs", "/sys", "sysfs", 0, "") },
		} {
			if err := f(); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		goleak.VerifyTestMain(m)
		return
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		cmd.Env = append(cmd.Env, root+"=1")
	} else {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err = cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Println("NOT RUN: package doctor needs user and network namespaces:", err)
		if os.Getenv("CI") == "true" {
			os.Exit(1)
		}
	}
}

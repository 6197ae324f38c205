package agent

import (
	"context"
	"errors"
	"strings"

	"nightporter/fsm"
	"nightporter/health"
)

// systemChecks asks the services of this host over its own addresses, runs its own executables and talks to its systemd.
type systemChecks struct {
	dir     string // of the executables
	systemd health.Systemd
}

// errUnknownCheck cannot come from the log, which this version would have halted at.
var errUnknownCheck = errors.New("this version does not know it")

// Ask implements Checks.
func (s systemChecks) Ask(ctx context.Context, sv fsm.Service, c fsm.Check) string {
	return health.Limited(ctx, c.String(), c.Timeout, func(ctx context.Context) error {
		switch c.Kind {
		case fsm.CheckTCP:
			return health.TCP(ctx, sv.Addresses, c.Port)
		case fsm.CheckHTTP:
			return health.HTTP{Port: c.Port, Path: c.Path, Host: c.Host, StatusMin: c.StatusMin, StatusMax: c.StatusMax}.Ask(ctx, sv.Addresses)
		case fsm.CheckExec:
			return health.Exec(ctx, s.dir, c.Name, execEnv(sv))
		case fsm.CheckUnit:
			return s.systemd.Active(ctx, c.Name)
		}
		return errUnknownCheck
	})
}

// execEnv is what an executable is told about the service that it is asked about.
func execEnv(sv fsm.Service) []string {
	addrs := make([]string, len(sv.Addresses))
	for i, a := range sv.Addresses {
		addrs[i] = a.String()
	}
	return []string{"NIGHTPORTER_SERVICE=" + sv.Name, "NIGHTPORTER_ADDRESSES=" + strings.Join(addrs, " ")}
}

func (s systemChecks) StartUnit(ctx context.Context, unit string) error {
	return s.systemd.Start(ctx, unit)
}

func (s systemChecks) StopUnit(ctx context.Context, unit string) error {
	return s.systemd.Stop(ctx, unit)
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"nightporter/config"
	"nightporter/metrics"
	"nightporter/web"
)

// webLoop serves the status page and the metrics. What goes wrong there, a port that is taken or a token that cannot be read, is a sentence
// in status, and is tried again; it keeps the agent from nothing.
type webLoop struct {
	cfg    *config.Config
	listen func(netip.AddrPort) (net.Listener, error) // nil: a world without browsers
	source web.Source
	log    *slog.Logger

	problem atomic.Pointer[string]
}

// Pauses after the page could not be opened, doubled each time.
const (
	webRetry     = time.Second
	webRetryMost = time.Minute
)

func (w *webLoop) run(ctx context.Context) {
	if w.listen == nil || w.cfg.HTTP.Off() {
		return
	}
	pause := webRetry
	for ctx.Err() == nil {
		opened, err := w.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if opened {
			pause = webRetry
		}
		sentence := "the status page and the metrics are not served: " + err.Error()
		if last := w.problem.Swap(&sentence); last == nil || *last != sentence {
			w.log.Warn(sentence)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, webRetryMost)
	}
}

// serve opens the page and serves it until ctx ends or the listener fails.
func (w *webLoop) serve(ctx context.Context) (opened bool, err error) {
	token, err := w.token()
	if err != nil {
		return false, err
	}
	at := w.cfg.HTTPAddr()
	l, err := w.listen(at)
	if err != nil {
		return false, err
	}
	server := web.New(web.Options{Node: w.cfg.Node, Token: token, MetricsType: metrics.ContentType}, w.source, w.log)
	w.problem.Store(nil)
	w.log.Info("status page and metrics are served", "at", "http://"+l.Addr().String()+"/")
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { // until serve returns
		defer close(ended)
		<-ctx.Done()
		_ = server.Close() // of connections that are cut off nobody has to hear
	}()
	err = server.Serve(l)
	stop()
	<-ended
	return true, err
}

// token reads what callers must have. Without one only this host itself may be able to ask: config has made sure.
func (w *webLoop) token() (string, error) {
	switch file := w.cfg.HTTP.TokenFile; {
	case file == "" && w.cfg.HTTP.Local():
		return "", nil
	case file == "":
		return "", errors.New("others could read them without a token")
	case file == w.cfg.SecretFile:
		return "", fmt.Errorf("the token file %s is the cluster's secret; make a file of its own", file)
	default:
		return config.ReadToken(file)
	}
}

// trouble is why nothing is served, or "".
func (w *webLoop) trouble() string {
	if w == nil {
		return ""
	}
	if p := w.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// systemWeb listens on this host.
func systemWeb(at netip.AddrPort) (net.Listener, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d at %s is taken by another program; choose another one (http: {listen: ...}), or http: off", at.Port(), at.Addr())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is no address of this host now", at.Addr())
	case err != nil:
		return nil, fmt.Errorf("listen at %s: %w", at, err)
	}
	return l, nil
}

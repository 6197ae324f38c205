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
		if errors.Is(err, errChanged) {
			continue
		}
		w.say("the status page and the metrics are not served: " + err.Error())
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, webRetryMost)
	}
}

// serve opens the page and serves it until ctx ends, the listener fails, or a file asks for a new beginning (errChanged).
func (w *webLoop) serve(ctx context.Context) (opened bool, err error) {
	k, err := w.readKeys()
	if err != nil {
		return false, err
	}
	at := w.cfg.HTTPAddr()
	l, err := w.listen(at)
	if err != nil {
		return false, err
	}
	options, scheme := web.Options{Node: w.cfg.Node, Token: k.token, MetricsType: metrics.ContentType}, "http"
	if w.cfg.HTTP.CertFile != "" {
		options.Certificate, scheme = k.pair.Load, "https"
	}
	server := web.New(options, w.source, w.log)
	w.say("")
	w.log.Info("status page and metrics are served", "at", scheme+"://"+l.Addr().String()+"/")
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { // until serve returns
		why := w.follow(ctx, k)
		_ = server.Close() // of connections that are cut off nobody has to hear
		ended <- why
	}()
	err = server.Serve(l)
	stop()
	return true, errors.Join(<-ended, err)
}

// say takes a sentence down as the problem; "" = there is none.
func (w *webLoop) say(sentence string) {
	if last := w.problem.Swap(&sentence); sentence != "" && (last == nil || *last != sentence) {
		w.log.Warn(sentence)
	}
}

// trouble is why nothing is served, or what is wrong with it, or "".
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
